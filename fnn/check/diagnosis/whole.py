"""Faults of a gradient as a whole: NaN, zero, a factor, another leaf's, transposed, moved.

Every function here is a hypothesis: ``(leaf) -> sentence``, with the empty string where it does not fit.
"""

import math

import jax
import numpy as np

from fnn.check.diagnosis.constants import number, origin, same
from fnn.check.diagnosis.evidence import Array, Leaf, norm
from fnn.check.diagnosis.places import place
from fnn.check.precision import exact
from fnn.check.subject import Gradient, hand_leaves, real_leaves
from fnn.check.trial import run_backward

_MOST_POSITIONS = 64  # along an axis, of which every two are compared


def not_finite(leaf: Leaf) -> str:
    """NaN or infinite elements, and where."""
    bad, expected = ~np.isfinite(leaf.hand), ~np.isfinite(leaf.true)
    if not bad.any():
        return "the right gradient is not finite, and this one is" if expected.any() else ""
    kind = "NaN" if np.isnan(leaf.hand).any() else "infinite"
    always = np.asarray(bad.any(axis=0))
    where = "in every element" if always.all() else f"only {place(leaf, always) or 'in places'}"
    if expected.any():
        return f"the gradient is {kind} {where}; so is the right one in places"
    return f"the gradient is {kind} {where}, where the right one is finite"


def zero(leaf: Leaf) -> str:
    """No gradient at all."""
    if leaf.hand.any() or not leaf.true.any():
        return ""
    return "the gradient is zero in every element: it is missing"


def factor(leaf: Leaf) -> str:
    """h = c · g."""
    square = float(np.vdot(leaf.true, leaf.true))
    c = float(np.vdot(leaf.true, leaf.hand)) / square if square else 0.0
    if c == 0 or not leaf.explained_by(c * leaf.true):
        return ""
    if same(c, -1):
        return "the gradient has the wrong sign in every element"
    found = origin(c, leaf.evidence)
    text = f"the gradient is {number(c)} times the right one in every element"
    if found:
        return f"{text}: {found}{_mean_or_sum(found)}"
    return text + (", its sign included" if c < 0 else "")


def upstream(leaf: Leaf) -> str:
    """h does not depend on dy."""
    probes = len(leaf.hand)
    if probes < 3 or not leaf.explained_by(np.broadcast_to(leaf.hand[:1], leaf.hand.shape)):
        return ""
    return "the gradient does not depend on dy: the upstream gradient is missing"


def constant_offset(leaf: Leaf) -> str:
    """h = g + something that does not depend on dy."""
    offset = leaf.hand - leaf.true
    if len(offset) < 3 or not leaf.explained_by(leaf.true + offset[:1]):
        return ""
    for name, atom in leaf.evidence.atoms.items():
        if atom.shape != leaf.shape or not np.issubdtype(atom.dtype, np.floating):
            continue
        size = float(np.vdot(atom, atom))
        c = float(np.vdot(atom, offset[0])) / size if size else 0.0
        if leaf.explained_by(leaf.true + c * atom):
            times = "" if same(c, 1) else f"{number(c)} · "
            return f"the right gradient plus {times}{name}, which does not depend on dy"
    return "the right gradient plus a term that does not depend on dy"


def another_leaf(leaf: Leaf) -> str:
    """h is the gradient of another leaf, or minus it."""
    evidence = leaf.evidence
    for path, gradients in evidence.true.items():
        if path == leaf.path or gradients[0].shape != leaf.shape:
            continue
        true = np.stack(gradients)
        for sign, word in ((1, ""), (-1, "minus ")):
            if leaf.explained_by(sign * true):
                hand = np.stack(evidence.hand[path]) if path in evidence.hand else None
                back = hand is not None and norm(hand - sign * leaf.true) <= 1e-8 * norm(hand)
                swapped = ": the two are swapped" if back else ""
                return f"this is {word}the gradient of {path}{swapped}"
    return ""


def transposed(leaf: Leaf) -> str:
    """h = gᵀ, of a square leaf, or laid out anew where the leaf is not square."""
    if len(leaf.shape) < 2 or min(leaf.shape[-2:]) < 2:
        return ""
    turned = np.swapaxes(leaf.true, -1, -2)
    if leaf.explained_by(turned.reshape(leaf.hand.shape)):
        square = leaf.shape[-1] == leaf.shape[-2]
        return "the gradient is transposed" + ("" if square else ", then reshaped")
    if leaf.explained_by(-turned.reshape(leaf.hand.shape)):
        return "the gradient is transposed and has the wrong sign"
    return ""


def moved(leaf: Leaf) -> str:
    """h is g with the positions along one axis in another order, or shifted with zeros."""
    for axis, n in enumerate(leaf.shape):
        if n < 2:
            continue
        if leaf.explained_by(np.flip(leaf.true, axis + 1)):
            return f"the gradient is in reverse order along axis {axis}"
        for k in (1, -1):
            if leaf.explained_by(np.roll(leaf.true, k, axis + 1)):
                return f"another position's gradient: it is rolled by {k} along axis {axis}"
            if n > 2 and leaf.explained_by(_shift(leaf.true, k, axis + 1)):
                return f"the gradient is shifted by {k} along axis {axis}, with zeros at the end"
        order = _order(leaf, axis + 1) if n <= _MOST_POSITIONS else None
        if order is not None and leaf.explained_by(np.take(leaf.true, order, axis + 1)):
            return (
                f"another position's gradient: along axis {axis} the order is {order}"
                if len(order) <= 8
                else f"the positions along axis {axis} are in another order"
            )
    return ""


def clipped(leaf: Leaf) -> str:
    """h = min(max(g, low), high)."""
    low, high = float(leaf.hand.min()), float(leaf.hand.max())
    at_bound = int(((leaf.hand == low) | (leaf.hand == high)).sum())
    if at_bound < 4 or not leaf.explained_by(np.clip(leaf.true, low, high)):
        return ""
    return f"the gradient is clipped to [{low:.6g}, {high:.6g}]"


def absolute(leaf: Leaf) -> str:
    """h = |g|, or -|g|."""
    for word, model in (("", np.abs(leaf.true)), ("minus ", -np.abs(leaf.true))):
        if leaf.explained_by(model):
            return f"every element is {word}the absolute value of the right one: a sign is lost"
    return ""


def not_linear(leaf: Leaf) -> str:
    """h(2 dy) = 2ᵏ · h(dy) with k other than 1."""
    trial, dense = leaf.evidence.trial, leaf.evidence.dense
    paths = [path for path, _ in real_leaves(trial.subject)]
    found = []
    with exact():
        for k in dense:
            twice = jax.tree.map(lambda dy: 2 * dy, leaf.evidence.dys[k])
            found.append(
                run_backward(trial.subject.backward, trial.subject.params, trial.cache, twice)
            )
    hands = [hand_leaves(trial.subject, Gradient(*hand))[paths.index(leaf.path)] for hand in found]
    once = leaf.hand[list(dense)]
    if any(hand is None for hand in hands):
        return ""
    doubled = np.stack([hand for hand in hands if hand is not None])
    size = norm(once)
    for factor in (4, 8, 0.5, 0.25, math.sqrt(2)):
        if norm(doubled - factor * once) <= 1e-10 * size:
            return (
                f"it is not linear in dy: twice the dy gives {number(factor)} times the gradient "
                f"(dy to the power of {number(math.log2(factor))})"
            )
    return ""


def rescaled(leaf: Leaf) -> str:
    """h = c(dy) · g, with another c for every dy: divided by its own norm, or of degree k in dy."""
    axes = tuple(range(1, leaf.hand.ndim))
    squares = (leaf.true**2).sum(axes, keepdims=True)
    scales = (leaf.true * leaf.hand).sum(axes, keepdims=True) / np.where(squares, squares, 1)
    if leaf.hand[0].size < 2 or not leaf.explained_by(scales * leaf.true):
        return ""
    norms = [norm(hand) for hand in leaf.hand if norm(hand) > 0]
    if all(math.isclose(value, norms[0], rel_tol=1e-9) for value in norms):
        return f"the gradient is rescaled to the norm {norms[0]:.6g}, so it is not linear in dy"
    return "the gradient is the right one times a number that depends on dy: it is not linear in dy"


def _mean_or_sum(found: str) -> str:
    if found.startswith("1/n"):
        return "; a mean where a sum is right, or the mean taken twice"
    if found.startswith("n with"):
        return "; a sum where a mean is right"
    return ""


def _shift(array: Array, k: int, axis: int) -> Array:
    shifted = np.roll(array, k, axis)
    index: list[int | slice] = [slice(None)] * array.ndim
    index[axis] = 0 if k > 0 else -1
    shifted[tuple(index)] = 0
    return shifted


def _order(leaf: Leaf, axis: int) -> list[int] | None:
    """The order of g's slices along the axis that gives h's, if every slice of h is one of g's."""
    hand = np.moveaxis(leaf.hand, axis, 0).reshape(leaf.hand.shape[axis], -1)
    true = np.moveaxis(leaf.true, axis, 0).reshape(hand.shape)
    distance = np.linalg.norm(hand[:, None, :] - true[None, :, :], axis=-1)
    order = [int(j) for j in distance.argmin(axis=1)]
    return order if sorted(order) == list(range(len(order))) else None
