"""When to stop: early stopping, which keeps the best, and the stop of a run that diverges.

Both are pure functions over a small state, for `jit` and `scan` and for a Python loop. Around `fit`:

    stopping = early_stopping(patience=5)
    watch = stopping.init((train_state.params, train_state.state))
    for report in fit(net, loss, optimizer, train_state, examples, validation=held_out, …):
        now = report.train_state
        watch = stopping.update(report.evaluation.loss, (now.params, now.state), watch)
        if stopping.stop(watch):
            break
    params, state = watch.best        # running statistics belong to their parameters
"""

from collections.abc import Callable
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from fnn.layer import Array, PyTree


class StoppingState(NamedTuple):
    """What early stopping has seen."""

    value: Array  # (), at least float32: the best value
    best: PyTree  # what it was measured on, such as params or a whole train state
    at: Array  # (), int32: which update it came with, from 0; -1 before the first
    updates: Array  # (), int32: how many there were
    bad: Array  # (), int32: updates in a row that were not better


class EarlyStopping(NamedTuple):
    """Three pure functions."""

    init: Callable[[PyTree], StoppingState]  # of something made like what will be kept
    update: Callable[[Array | float, PyTree, StoppingState], StoppingState]
    stop: Callable[[StoppingState], Array]  # (), bool


def early_stopping(
    patience: int, *, min_delta: float = 0.0, mode: Literal["min", "max"] = "min"
) -> EarlyStopping:
    """Stop when `patience` values in a row were not better than the best before them.

    Better is lower than the best by more than `min_delta` (higher, with mode "max"); NaN is not better.
    The state keeps what came with the best value, in memory of its own or the caller's: give it
    something that no later call is donated. Sources: Prechelt (1998); Bishop (1995).

    Raises:
      ValueError: a patience below 1, a min_delta below 0, or an unknown mode.
    """
    if patience < 1 or not min_delta >= 0:
        raise ValueError(
            f"expected patience at least 1 and min_delta at least 0, got {patience} and {min_delta}"
        )
    if mode not in ("min", "max"):
        raise ValueError(f"expected mode 'min' or 'max', got {mode!r}")
    sign = 1.0 if mode == "min" else -1.0

    def init(kept: PyTree) -> StoppingState:
        worst = jnp.asarray(np.asarray(sign * np.inf, float))
        return StoppingState(worst, kept, _integer(-1), _integer(0), _integer(0))

    def update(value: Array | float, kept: PyTree, state: StoppingState) -> StoppingState:
        value = jnp.asarray(value).astype(state.value.dtype)
        better = sign * value < sign * state.value - min_delta
        return StoppingState(
            jnp.where(better, value, state.value),
            jax.lax.cond(better, _first, _second, kept, state.best),
            jnp.where(better, state.updates, state.at),
            state.updates + 1,
            jnp.where(better, jnp.zeros_like(state.bad), state.bad + 1),
        )

    def stop(state: StoppingState) -> Array:
        return state.bad >= patience

    return EarlyStopping(init, update, stop)


class DivergenceState(NamedTuple):
    """What the divergence stop has seen."""

    first: Array  # (), at least float32: the first value, infinite before it
    updates: Array  # (), int32
    diverged: Array  # (), bool: whether any value was too large


class DivergenceStop(NamedTuple):
    """Three pure functions."""

    init: Callable[[], DivergenceState]
    update: Callable[[Array | float, DivergenceState], DivergenceState]
    stop: Callable[[DivergenceState], Array]  # (), bool


def divergence_stop(factor: float = 3.0) -> DivergenceStop:
    """Stop when a loss is above `factor` times the first one, or is not finite.

    A heuristic of the searches for a rate: a run that bad seldom recovers, and its time is better spent
    on another rate. It supposes a loss that is not negative and a first value that is typical; after a
    warm start, whose first loss is small already, it stops runs that are well.

    Raises:
      ValueError: a factor of 1 or less, or one that is not finite.
    """
    if not 1 < factor < float("inf"):
        raise ValueError(f"expected a finite factor above 1, got {factor}")

    def init() -> DivergenceState:
        first = jnp.asarray(np.asarray(np.inf, float))
        return DivergenceState(first, _integer(0), jnp.asarray(np.zeros((), bool)))

    def update(value: Array | float, state: DivergenceState) -> DivergenceState:
        value = jnp.asarray(value).astype(state.first.dtype)
        first = jnp.where(state.updates == 0, value, state.first)
        worse = (value > factor * first) | ~jnp.isfinite(value)
        return DivergenceState(first, state.updates + 1, state.diverged | worse)

    def stop(state: DivergenceState) -> Array:
        return state.diverged

    return DivergenceStop(init, update, stop)


def _integer(value: int) -> Array:
    return jnp.asarray(np.asarray(value, np.int32))


# Functions with a name, so that outside of `jit` the branch is compiled once.
def _first(first: PyTree, second: PyTree) -> PyTree:
    del second
    return first


def _second(first: PyTree, second: PyTree) -> PyTree:
    del first
    return second
