"""The backward formulas that the lecture notes print wrong, each with a right one, as layers.

A loss is a layer here, with its target in the cache. `X` is drawn so that nothing hides: dy is not 1,
the targets do not sum to 1, and the maxima have ties.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from fnn import check
from fnn.check.diagnosis import diagnose
from fnn.layer import Array, Layer, PyTree, pure

Forward = Callable[[Array], Array]
Saved = Callable[[Array], Mapping[str, Array]]
Backward = Callable[[Array, Array, Array], Array]  # (x, y, dy) -> dx


class Formula(NamedTuple):
    """One formula of the notes: as printed and as corrected, both as layers at the same point."""

    title: str
    printed: str
    correct: str
    wrong: Layer
    right: Layer
    x: Any
    remark: str = ""


class Verdict(NamedTuple):
    """What the checker says of one formula."""

    rejected: bool  # as printed
    accepted: bool  # as corrected
    leaf: str
    error: float  # relative, of the formula as printed
    likely: str  # what is missing


def judge(formula: Formula) -> Verdict:
    """Check both versions."""
    wrong, right = (check.layer(layer, formula.x) for layer in (formula.wrong, formula.right))
    row = check.reverse_mode(check.trial_of(formula.wrong, formula.x))[0]
    likely = diagnose(check.trial_of(formula.wrong, formula.x), row)
    return Verdict(not wrong.ok, right.ok, row.path, row.relative, likely)


def _layer(name: str, forward: Forward, backward: Backward, saved: Saved) -> Layer:
    """A layer without parameters, whose backward is given x, y and dy; what is `saved` it sees too."""

    def run(params: PyTree, x: Array) -> tuple[Array, Mapping[str, Array]]:
        del params  # there are none
        y = forward(x)
        return y, {"x": x, "y": y, **saved(x)}

    def back(params: PyTree, cache: Mapping[str, Array], dy: Array) -> tuple[PyTree, Array]:
        return params, jnp.broadcast_to(backward(cache["x"], cache["y"], dy), cache["x"].shape)

    return pure(name, run, back)


def _nothing(x: Array) -> Mapping[str, Array]:
    del x
    return {}


def _pair(
    forward: Forward, printed: Backward, correct: Backward, saved: Saved = _nothing
) -> tuple[Layer, Layer]:
    return (
        _layer("as printed", forward, printed, saved),
        _layer("as corrected", forward, correct, saved),
    )


def _draw(*shape: int, seed: int = 0) -> np.ndarray[Any, Any]:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


X = _draw(6, 4)
P = np.abs(_draw(6, 4, seed=1)) / 3  # targets that sum to something else than 1
T = _draw(6, 4, seed=2)
TIES = np.array([[3, 1, 3, 0], [2, 5, 1, 4], [7, 7, 7, 2], [1, 0, 2, 6], [4, 3, 2, 1]], np.float32)
POSITIVE = np.exp(X)


def _sum(x: Array) -> Array:
    return x.sum(axis=-1, keepdims=True)


def _column(dy: Array) -> Array:
    """(N,) as (N, 1): one dy an example, for all of its elements."""
    return dy[:, None]


def _probabilities(x: Array) -> Array:
    return jnp.asarray(P, x.dtype)


def _targets(x: Array) -> Array:
    return jnp.asarray(T, x.dtype)


def _is_maximal(x: Array, y: Array) -> Array:
    return (x == y[:, None]).astype(x.dtype)


FORMULAS = (
    Formula(
        "Rectifier, backward",
        "dx = (y > 0)",
        "dx = dy ⊙ (y > 0)",
        *_pair(
            lambda x: jnp.where(x > 0, x, 0),
            lambda x, y, dy: (y > 0).astype(x.dtype),
            lambda x, y, dy: dy * (y > 0).astype(x.dtype),
        ),
        X,
    ),
    Formula(
        "Rectifier, backward in words",
        "dx = y where it is positive, else 0",
        "dx = dy where y is positive, else 0",
        *_pair(
            lambda x: jnp.where(x > 0, x, 0),
            lambda x, y, dy: jnp.where(y > 0, y, 0),
            lambda x, y, dy: jnp.where(y > 0, dy, 0),
        ),
        X,
    ),
    Formula(
        "Softmax, backward",
        "dx = s − Σ s, with s = dy ⊙ y",
        "dx = s − y Σ s",
        *_pair(
            lambda x: jax.nn.softmax(x),
            lambda x, y, dy: dy * y - _sum(dy * y),
            lambda x, y, dy: dy * y - y * _sum(dy * y),
        ),
        X,
    ),
    Formula(
        "Cross-entropy of logits, backward",
        "dx = y − p, with y read as softmax(x)",
        "dx = dy · ((Σ p) softmax(x) − p)",
        *_pair(
            lambda x: -(_probabilities(x) * jax.nn.log_softmax(x)).sum(-1),
            lambda x, y, dy: jax.nn.softmax(x) - _probabilities(x),
            lambda x, y, dy: (
                _column(dy) * (_sum(_probabilities(x)) * jax.nn.softmax(x) - _probabilities(x))
            ),
            lambda x: {"p": _probabilities(x), "softmax": jax.nn.softmax(x)},
        ),
        X,
        "y is the loss on the same lines of the notes. The formula is right if y is softmax(x), the "
        "target sums to 1 and nothing follows the loss, not even the mean over a batch.",
    ),
    Formula(
        "Cross-entropy of probabilities, backward",
        "dx = −p / x",
        "dx = −dy · p / x",
        *_pair(
            lambda x: -(_probabilities(x) * jnp.log(x)).sum(-1),
            lambda x, y, dy: -_probabilities(x) / x,
            lambda x, y, dy: -_column(dy) * _probabilities(x) / x,
            lambda x: {"p": _probabilities(x)},
        ),
        POSITIVE,
        "Right where nothing follows the loss, so that dy = 1; the notes define y = L. As a module "
        "in a chain it needs dy, if only for the 1/N of a mean.",
    ),
    Formula(
        "Squared error, backward",
        "dx = −2 (t − x)",
        "dx = −2 dy · (t − x)",
        *_pair(
            lambda x: ((_targets(x) - x) ** 2).sum(-1),
            lambda x, y, dy: -2 * (_targets(x) - x),
            lambda x, y, dy: -2 * _column(dy) * (_targets(x) - x),
            lambda x: {"t": _targets(x)},
        ),
        X,
        "As the one before: right where dy = 1.",
    ),
    Formula(
        "Maximum, backward",
        "dx = dy where x is maximal, else 0",
        "dx = dy / (number of maxima) where x is maximal, else 0",
        *_pair(
            lambda x: x.max(-1),
            lambda x, y, dy: _column(dy) * _is_maximal(x, y),
            lambda x, y, dy: _column(dy) * _is_maximal(x, y) / _sum(_is_maximal(x, y)),
        ),
        TIES,
        "Only ties show it, and the checker makes some of its own: each of the equal maxima gets the "
        "whole of dy, so that more goes back than came. Splitting it is one convention; sending it "
        "to the first is another.",
    ),
)
