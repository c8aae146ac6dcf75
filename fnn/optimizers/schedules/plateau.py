"""A rate that falls when the loss does not: a state machine, for any loop."""

from collections.abc import Callable
from typing import Literal, NamedTuple

import jax.numpy as jnp
import numpy as np

from fnn.layer import Array


class PlateauState(NamedTuple):
    """What it has seen."""

    best: Array  # (), at least float32: the best value so far
    bad: Array  # (), int32: values in a row that were not better
    cooling: Array  # (), int32: values that still do not count, after a reduction
    scale: Array  # (), at least float32: what to multiply the rate by, 1 at first


class Plateau(NamedTuple):
    """A pair of pure functions; they work in `jit` and `scan` and in a Python loop alike."""

    init: Callable[[], PlateauState]
    update: Callable[
        [Array | float, PlateauState], PlateauState
    ]  # (value, state) -> the next state


def reduce_on_plateau(
    *,
    patience: int = 10,
    factor: float = 0.1,
    cooldown: int = 0,
    threshold: float = 1e-4,
    relative: bool = True,
    minimum: float = 0.0,
    mode: Literal["min", "max"] = "min",
    dialect: Literal["torch", "optax"] = "torch",
) -> Plateau:
    """Multiply a scale by `factor` when a value has not become better for a while.

        plateau, run = reduce_on_plateau(patience=3), train.epoch(net, loss, sgd(0.1), batch_size=32)
        seen = plateau.init()
        for _ in range(epochs):
            train_state, info = run(train_state, examples)
            seen = plateau.update(info.loss.mean(), seen)
            moved = with_hyperparameters(train_state.optimizer, rate=0.1 * seen.scale)
            train_state = train_state._replace(optimizer=moved)

    Better is below ``best · (1 - threshold)``, or ``best - threshold`` if not `relative`; with mode
    "max", above ``best · (1 + threshold)`` or ``best + threshold``. NaN is not better. In the `cooldown`
    values after a reduction, none is counted as bad.

    The dialects differ by one in their patience: "torch" tolerates `patience` bad values in a row and
    reduces at the next one; "optax" reduces at the last of `patience` bad values.

    Raises:
      ValueError: a factor outside of (0, 1), or counts, threshold or minimum below their least; an
        unknown mode or dialect.
    """
    least = 0 if dialect == "torch" else 1  # of optax's, 0 bad values never come to pass
    if mode not in ("min", "max") or dialect not in ("torch", "optax"):
        raise ValueError(
            f"expected mode 'min' or 'max' and dialect 'torch' or 'optax', got {mode!r} and {dialect!r}"
        )
    if not 0 < factor < 1:
        raise ValueError(f"expected a factor above 0 and below 1, got {factor}")
    if patience < least or cooldown < 0 or not threshold >= 0 or not 0 <= minimum <= 1:
        raise ValueError(
            f"expected patience at least {least}, cooldown and threshold at least 0, and minimum, a "
            f"scale, from 0 to 1, got {patience}, {cooldown}, {threshold} and {minimum}"
        )
    sign = 1.0 if mode == "min" else -1.0
    tolerated = patience if dialect == "torch" else patience - 1

    def init() -> PlateauState:
        def number(value: float) -> Array:
            return jnp.asarray(np.asarray(value, float))

        def none() -> Array:  # two arrays, so that a state may be donated
            return jnp.asarray(np.zeros((), np.int32))

        return PlateauState(number(sign * np.inf), none(), none(), number(1.0))

    def update(value: Array | float, state: PlateauState) -> PlateauState:
        value = jnp.asarray(value).astype(state.best.dtype)
        margin = sign * threshold * (state.best if relative else 1.0)
        better = sign * value < sign * (state.best - margin)
        # The first margin of all is ∞ · threshold, and ∞ - ∞ is no number.
        better = jnp.where(state.best == sign * jnp.inf, sign * value < jnp.inf, better)
        zero = jnp.zeros_like(state.bad)
        bad = jnp.where(better | (state.cooling > 0), zero, state.bad + 1)
        reduce = bad > tolerated
        return PlateauState(
            jnp.where(better, value, state.best),
            jnp.where(reduce, zero, bad),
            jnp.where(reduce, zero + cooldown, jnp.maximum(state.cooling - 1, zero)),
            jnp.where(reduce, jnp.maximum(state.scale * factor, minimum), state.scale),
        )

    return Plateau(init, update)
