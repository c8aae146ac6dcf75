"""Right at another point: for a transposed matrix, or only where a leaf is symmetric, 1 or 0."""

import jax.numpy as jnp
import numpy as np

from fnn.check.diagnosis.evidence import Array, Leaf, norm
from fnn.check.methods.references import pull_back_of
from fnn.check.precision import exact
from fnn.check.subject import Gradient, Subject, hand_leaves, point, real_leaves, with_real_leaves
from fnn.check.trial import run_backward, run_forward

_MOST_LEAVES = 6
_RIGHT = 1e-10  # relative error of a gradient that is right


def transposed_argument(leaf: Leaf) -> str:
    """h is the right gradient at a point where one matrix is transposed."""
    for i, (path, value) in enumerate(_others(leaf)):
        if not _is_square(value):
            continue
        with np.errstate(invalid="ignore", over="ignore"):
            there = _moved(leaf, i, np.swapaxes(value, -1, -2))
            if leaf.explained_by(_true(leaf, there)):
                return f"it is the gradient for {path} transposed: a transpose is missing or one too many"
    return ""


def only_where(leaf: Leaf) -> str:
    """The pass is right at points where one leaf is symmetric, 1 or 0, and wrong at others."""
    for i, (path, value) in enumerate(_others(leaf)):
        kinds: dict[str, Array] = {}
        if _is_square(value):
            kinds["symmetric"] = (value + np.swapaxes(value, -1, -2)) / 2
        if path.startswith("params"):  # an input of equal elements is a special case of everything
            kinds |= {"1": np.ones_like(value), "0": np.zeros_like(value)}
        for kind, special in kinds.items():
            if np.array_equal(special, value):
                continue
            with np.errstate(invalid="ignore", over="ignore"):
                there = _moved(leaf, i, special)
                if _is_right(leaf, there):
                    return f"the gradient is right where {path} is {kind}, and wrong elsewhere"
    return ""


def _others(leaf: Leaf) -> list[tuple[str, Array]]:
    leaves = real_leaves(leaf.evidence.trial.subject)[:_MOST_LEAVES]
    return [(path, np.asarray(value)) for path, value in leaves]


def _moved(leaf: Leaf, i: int, value: Array) -> Subject:
    subject = leaf.evidence.trial.subject
    leaves = [value for _, value in real_leaves(subject)]
    with exact():
        leaves[i] = jnp.asarray(value, jnp.float64)
    return with_real_leaves(subject, leaves)


def _index(leaf: Leaf) -> int:
    paths = [path for path, _ in real_leaves(leaf.evidence.trial.subject)]
    return paths.index(leaf.path)


def _true(leaf: Leaf, subject: Subject) -> Array:
    pull, i = pull_back_of(subject), _index(leaf)
    return np.stack([pull(dy)[i] for dy in leaf.evidence.dys])


def _is_right(leaf: Leaf, subject: Subject) -> bool:
    """Whether by hand and by `jax.vjp` are the same there, and not merely both small."""
    i, dense = _index(leaf), leaf.evidence.dense
    with exact():
        _, cache = run_forward(subject.forward, *point(subject))
        hands = [
            hand_leaves(
                subject,
                Gradient(
                    *run_backward(subject.backward, subject.params, cache, leaf.evidence.dys[k])
                ),
            )[i]
            for k in dense
        ]
    pull = pull_back_of(subject)
    here = max(norm(true) for true in leaf.true)
    for k, hand in zip(dense, hands, strict=True):
        true = pull(leaf.evidence.dys[k])[i]
        if hand is None or norm(true) < 1e-3 * here or norm(hand - true) > _RIGHT * norm(true):
            return False
    return True


def _is_square(value: Array) -> bool:
    return (
        value.ndim >= 2
        and value.shape[-1] == value.shape[-2] > 1
        and not np.array_equal(value, np.swapaxes(value, -1, -2))
    )
