"""A gradient of another structure than its leaf: an axis too many, a sum left out, a leaf missing."""

import jax
import numpy as np

from fnn.check.diagnosis.evidence import Array, norm
from fnn.check.methods.references import pull_back_of
from fnn.check.subject import Gradient, real_leaves
from fnn.check.trial import Trial
from fnn.tree import paths


def misshapen(trial: Trial, path: str) -> str:
    """What a wrong structure comes from; the empty string where it is right, or nothing fits."""
    subject = trial.subject
    wanted = dict(paths(Gradient(subject.params, subject.x)))
    found = dict(paths(trial.hand[0]))
    if path in found and path not in wanted:
        return "the gradient of something that is no parameter"
    if path in wanted and path not in found:
        missing = [other for other in wanted if other not in found]
        return f"no gradient is returned for {path}" if len(missing) < len(wanted) else ""
    if path not in wanted and path not in Gradient._fields:
        return ""  # a pass as a whole, such as one that does not run under a transformation
    if path not in wanted:  # both trees have the same leaves
        ours, theirs = (_kind(tree) for tree in (trial.hand[0].params, subject.params))
        return f"the gradients are in a {ours}, the parameters in a {theirs}"
    leaves = [name for name, _ in real_leaves(subject)]
    if path not in leaves:
        return f"{path} is of integers: its gradient is None"
    hand, leaf = found[path], wanted[path]
    if np.shape(hand) == leaf.shape:
        return _dtype(np.asarray(hand).dtype, leaf.dtype)
    pull = pull_back_of(subject)
    true = pull(trial.probes[0].dy)[leaves.index(path)]
    return _shape(np.asarray(hand, np.float64), true)


def _dtype(found: np.dtype, wanted: np.dtype) -> str:
    return "" if found == wanted else f"the gradient is cast to {found}"


def _shape(hand: Array, true: Array) -> str:
    if hand.size == true.size and norm(hand.ravel() - true.ravel()) <= 1e-9 * norm(true):
        return f"the right numbers in the shape {hand.shape}; reshape them to {true.shape}"
    if hand.ndim >= 2 and hand.size == true.size:
        turned = np.swapaxes(hand, -1, -2)
        if norm(turned.ravel() - true.ravel()) <= 1e-9 * norm(true):
            return "the gradient is transposed"
    for axes in _axes(hand.ndim):
        for word, reduce in (("sum", np.sum), ("mean", np.mean)):
            reduced = reduce(hand, axis=axes)
            if reduced.size == true.size and norm(reduced.ravel() - true.ravel()) <= 1e-9 * norm(
                true
            ):
                which = f"axis {axes[0]}" if len(axes) == 1 else f"the axes {axes}"
                return f"the {word} over {which} is missing"
    return ""


def _axes(n: int) -> list[tuple[int, ...]]:
    """Each axis alone, then the leading ones together, then all."""
    return [*((i,) for i in range(n)), *(tuple(range(k)) for k in range(2, n + 1))]


def _kind(tree: object) -> str:
    return "single array" if jax.tree_util.all_leaves([tree]) else type(tree).__name__
