"""A point in a low dtype, the same numbers in float64, and how far the gradient there moves by itself."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from fnn.check.compare import Array, norm
from fnn.check.methods.references import auto_gradients
from fnn.check.precision import dtype_of, is_real
from fnn.check.subject import Gradient, Subject, hand_leaves, point, real_leaves, with_real_leaves
from fnn.check.trial import Trial, run_backward, run_forward
from fnn.layer import PyTree

NEARBY = 1e-9  # of a leaf's size: off a kink, but nowhere else

_Leaves = list[Array | None]


class Place(NamedTuple):
    """The subject at the rounded point, in both dtypes, with dy for two probes in both."""

    dtype: Any  # the low one
    low: Subject
    wide: Subject
    low_dys: list[PyTree]
    wide_dys: list[PyTree]


def rounded(given: Subject, trial: Trial, dtype: Any) -> Place:
    """The trial's point and its first two probes in this dtype, and the same numbers in float64."""

    def low(leaf: Any) -> Any:
        with np.errstate(over="ignore"):  # to infinity, which `_within` sees
            return np.asarray(leaf).astype(dtype) if is_real(leaf) else leaf

    def wide(leaf: Any) -> Any:
        return leaf.astype(np.float64) if is_real(leaf) else leaf

    def like_given(leaf: Any, given: Any) -> Any:
        """A state keeps the dtype that it was given in: running statistics are float32 at least."""
        kept = np.float32 if dtype_of(given) == np.float64 else dtype_of(given)
        return leaf.astype(kept) if is_real(leaf) else leaf

    subject = trial.subject
    params, state, x = jax.tree.map(low, (subject.params, subject.state, subject.x))
    dys = [jax.tree.map(low, probe.dy) for probe in trial.probes[:2]]
    wide_params, wide_state, wide_x, wide_dys = jax.tree.map(wide, (params, state, x, dys))
    low_state = jax.tree.map(like_given, state, given.state)
    return Place(
        dtype,
        subject._replace(params=params, state=low_state, x=x),
        subject._replace(params=wide_params, state=wide_state, x=wide_x),
        dys,
        wide_dys,
    )


class Spread:
    """How far each gradient moves under displacements by the last place, measured when it is asked."""

    def __init__(self, place: Place, cache: PyTree, seed: int) -> None:
        self._place = place
        self._rng = np.random.default_rng((seed, 3))
        self.center = hand_gradients(place.wide, cache, place.wide_dys)
        self._largest = [[0.0] * len(leaves) for leaves in self.center]
        self._drawn = 0

    def of(self, draws: int) -> list[list[float]]:
        """For each probe and leaf the largest of this many displacements, in norm."""
        while self._drawn < draws:
            self._draw()
        return self._largest

    def _draw(self) -> None:
        self._drawn += 1
        place = self._place
        leaves = [self._moved(np.asarray(leaf)) for _, leaf in real_leaves(place.wide)]
        subject = with_real_leaves(place.wide, leaves)
        dys = [
            jax.tree.map(lambda leaf: self._moved(np.asarray(leaf)), dy) for dy in place.wide_dys
        ]
        _, cache = run_forward(subject.forward, *point(subject))
        for k, gradients in enumerate(hand_gradients(subject, cache, dys)):
            for i, (leaf, center) in enumerate(zip(gradients, self.center[k], strict=True)):
                if leaf is None or center is None:
                    continue  # `structure` says so
                with np.errstate(invalid="ignore", over="ignore"):  # of what is infinite
                    distance = norm(leaf - center)
                if np.isfinite(distance):
                    self._largest[k][i] = max(self._largest[k][i], distance)

    def _moved(self, leaf: Array) -> Array:
        epsilon = float(jnp.finfo(self._place.dtype).eps)
        return leaf * (1 + epsilon * self._rng.uniform(-1, 1, leaf.shape))


def hand_gradients(subject: Subject, cache: PyTree, dys: list[PyTree]) -> list[_Leaves]:
    """The gradients of the real leaves by hand, for each dy."""
    return [
        hand_leaves(subject, Gradient(*run_backward(subject.backward, subject.params, cache, dy)))
        for dy in dys
    ]


def on_kink(place: Place, i: int, k: int, hand: Array, truth: Array, seed: int) -> bool:
    """Whether hand and autodiff differ in leaf i on probe k at this point only, and not beside it.

    There a gradient is a convention, and autodiff has its own. A tie that rounding made is broken by the
    displacements, and needs no such excuse; an input that is 0 is displaced by nothing.
    """
    with np.errstate(invalid="ignore", over="ignore"):
        if not norm(hand - truth) > NEARBY * norm(truth):
            return False
    rng = np.random.default_rng((seed, 4))
    leaves = [np.asarray(leaf) for _, leaf in real_leaves(place.wide)]
    moved = [
        leaf
        + NEARBY * (norm(leaf) / np.sqrt(max(leaf.size, 1)) or 1) * rng.standard_normal(leaf.shape)
        for leaf in leaves
    ]
    beside = with_real_leaves(place.wide, moved)
    _, cache = run_forward(beside.forward, *point(beside))
    by_hand = hand_gradients(beside, cache, place.wide_dys)[k][i]
    expected = auto_gradients(beside, place.wide_dys)[k][i]
    with np.errstate(invalid="ignore", over="ignore"):
        return by_hand is not None and norm(by_hand - expected) <= 1e-6 * norm(expected)
