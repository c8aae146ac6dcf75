"""Faults of some elements only, of some examples only, and of rounding."""

import jax
import jax.numpy as jnp
import numpy as np

from fnn.check.diagnosis.constants import number, same
from fnn.check.diagnosis.evidence import Array, Leaf, leaf_of, like, norm
from fnn.check.diagnosis.places import place
from fnn.check.jaxprs import enclosing, equations, source, trace
from fnn.check.precision import exact
from fnn.check.subject import real_leaves

_MOST_EXAMPLES = 16  # whose contributions are told apart one by one
_LARGEST = 4_000_000  # elements of all contributions together
_RIGHT = 1e-9  # an element's error, in units of the largest element, up to which it is right
_NARROW = {"float32": jnp.float32, "bfloat16": jnp.bfloat16, "float16": jnp.float16}


def region(leaf: Leaf) -> str:
    """Wrong in some elements and right in all others, for every dy."""
    scale = float(np.abs(leaf.true).max(initial=0.0)) or 1.0
    wrong_by_probe = np.abs(leaf.hand - leaf.true) > _RIGHT * scale
    wrong = wrong_by_probe.any(axis=0)
    if wrong.all() or not wrong.any():
        return ""
    where = place(leaf, wrong)
    if not where:
        return ""
    text = f"the gradient is wrong only {where}"
    hand, true = leaf.hand[:, wrong], leaf.true[:, wrong]
    right = ", where the right one is 0" if not true.any() else ""
    if not hand.any():
        return f"{text}, where it is 0"
    c = _ratio(hand, true)
    if c is not None:
        sign = "its sign is wrong" if same(c, -1) else f"it is {number(c)} times the right one"
        return f"{text}: there {sign}"
    for dy in leaf.dys:
        if dy.shape == leaf.hand.shape and (c := _ratio(hand, dy[:, wrong])) is not None:
            return f"{text}: there it is {'' if same(c, 1) else number(c) + ' · '}dy{right}"
    return text + right


def examples(leaf: Leaf) -> str:
    """h = Σ_i c_i · g(the part of dy at position i of an axis), with c_i not all the same."""
    evidence = leaf.evidence
    index = [path for path, _ in real_leaves(evidence.trial.subject)].index(leaf.path)
    some = leaf_of(evidence, leaf.path, evidence.dense)
    for which, dy in enumerate(some.dys):
        for axis, n in enumerate(dy.shape[1:]):
            groups = _groups(n)
            if n < 2 or len(groups) * some.hand.size > _LARGEST:
                continue
            parts = []
            for group in groups:
                mask = np.zeros(n)
                mask[group] = 1
                part = dy * np.expand_dims(mask, [i for i in range(dy.ndim) if i != axis + 1])
                parts.append(_pulled(some, which, part, index))
            columns = np.stack([np.ravel(part) for part in parts], axis=1)
            if columns.shape[0] < columns.shape[1] + 4:
                continue
            weights, _, rank, _ = np.linalg.lstsq(columns, np.ravel(some.hand), rcond=None)
            model = (columns @ weights).reshape(some.hand.shape)
            if rank == len(groups) and some.explained_by(model):
                name = "dy" if len(some.dys) == 1 else f"dy's leaf {which}"
                return _weighted(groups, weights, n, f"{name}'s axis {axis}")
    return ""


def rounded(leaf: Leaf) -> str:
    """h has no more digits than a narrower dtype, and is wrong by no more than its rounding."""
    some = leaf_of(leaf.evidence, leaf.path, leaf.evidence.dense)
    for name, dtype in _NARROW.items():
        step = float(jnp.finfo(dtype).eps)
        fits = np.array_equal(some.hand, some.hand.astype(dtype).astype(np.float64))
        if fits and some.error <= 64 * step * norm(some.true):
            return f"the gradient is cast down: every element is a {name}"
    if some.error > norm(some.true) / 8:
        return ""
    narrow, where = _narrowest(leaf)
    if not narrow or some.error > 64 * float(jnp.finfo(_NARROW[narrow]).eps) * norm(some.true):
        return ""
    return f"an intermediate is cast down to {narrow}{where}; the error is of its rounding's size"


def _narrowest(leaf: Leaf) -> tuple[str, str]:
    """The narrowest floating dtype in the cache or in the backward pass run in float64, and where."""
    trial = leaf.evidence.trial
    found = dict[str, str]()
    for array in jax.tree.leaves(trial.cache):
        found.setdefault(str(array.dtype), " in the cache")
    with exact():
        program = trace(
            trial.subject.backward, trial.subject.params, trial.cache, leaf.evidence.dys[0]
        )
        for location, equation in equations(program):
            for variable in equation.outvars:
                name = str(getattr(variable.aval, "dtype", ""))
                if name in _NARROW:
                    found.setdefault(name, f" at {source(*enclosing(program, location))}")
    for name in reversed(_NARROW):
        if name in found:
            return name, found[name]
    return "", ""


def _groups(n: int) -> list[list[int]]:
    """The positions one by one, or of a long axis the first, the last, and the halves between."""
    if n <= _MOST_EXAMPLES:
        return [[i] for i in range(n)]
    return [[0], list(range(1, n // 2)), list(range(n // 2, n - 1)), [n - 1]]


def _pulled(leaf: Leaf, which: int, part: Array, index: int) -> Array:
    """The right gradient for `part` in place of one leaf of dy; the other leaves count in full."""
    pull, y = leaf.evidence.pull_back, leaf.evidence.trial.y
    found = []
    for probe in range(len(part)):
        leaves = [np.zeros_like(dy[probe]) for dy in leaf.dys]
        leaves[which] = part[probe]
        found.append(pull(like(y, leaves))[index])
    return np.stack(found)


def _weighted(groups: list[list[int]], weights: Array, n: int, axis: str) -> str:
    """What unequal weights along an axis of dy say."""
    ones = [abs(weight - 1) < 1e-7 for weight in weights]
    zeros = [abs(weight) < 1e-7 for weight in weights]
    if all(one or nil for one, nil in zip(ones, zeros, strict=True)):
        used = [group for group, one in zip(groups, ones, strict=True) if one]
        left = [group for group, nil in zip(groups, zeros, strict=True) if nil]
        if len(used) == 1 and len(used[0]) == 1:
            return f"only index {used[0][0]} of {axis} counts: the sum over its {n} positions is missing"
        return f"{_indices(left, n)} of {axis} is left out of the sum"
    odd = [
        (group, weight) for group, weight, one in zip(groups, weights, ones, strict=True) if not one
    ]
    if len(odd) <= 2 and len(odd) < len(groups):
        words = " and ".join(
            f"{_indices([group], n)} counts {number(float(weight))} times" for group, weight in odd
        )
        return f"of {axis}, {words}"
    return ""


def _indices(groups: list[list[int]], n: int) -> str:
    positions = [i for group in groups for i in group]
    if len(positions) == 1:
        last = ", the last," if positions[0] == n - 1 else ""
        return f"index {positions[0]}{last}"
    if positions == list(range(positions[0], positions[-1] + 1)):
        return f"the slice {positions[0]}:{positions[-1] + 1}"
    return f"the set {positions}"


def _ratio(numerator: Array, denominator: Array) -> float | None:
    """c where numerator = c · denominator in every element, else None."""
    square = float(np.vdot(denominator, denominator))
    if square == 0 or numerator.size < 3:
        return None
    c = float(np.vdot(denominator, numerator)) / square
    return c if norm(numerator - c * denominator) <= 1e-8 * norm(numerator) else None
