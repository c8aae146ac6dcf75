"""Schedules: pure functions of the number of steps already made, 0 at the first update."""

import math

import jax.numpy as jnp

from fnn.layer import Array
from fnn.optimizers.hyperparameters import Schedule


def constant(value: float) -> Schedule:
    """``value`` at every step; unlike a plain number it is no leaf of the state."""

    def schedule(count: Array) -> Array:
        return jnp.full(jnp.shape(count), value, dtype=float)

    return schedule


def cosine_with_warmup(
    peak: float, total_steps: int, *, warmup_steps: int = 0, final: float = 0.0
) -> Schedule:
    """A straight line up to `peak`, then half a cosine down to `final`.

    With W = `warmup_steps` and T = `total_steps`, at `count` steps already made:

        count < W:   peak · (count + 1) / (W + 1)           so that the first step is not lost on a 0
        else:        final + (peak - final) · (1 + cos(π · (count - W) / (T - W))) / 2

    The value is `peak` at count = W and `final` from count = T on, so the last of T steps (count = T - 1)
    still moves. Sources: Loshchilov, Hutter (2017); warmup: Goyal et al. (2017).

    Raises:
      ValueError: not 0 <= warmup_steps < total_steps; or a value that is negative or not finite.
    """
    if not all(math.isfinite(value) and value >= 0 for value in (peak, final)):
        raise ValueError(
            "cosine_with_warmup: expected peak and final finite and at least 0, "
            f"got {peak} and {final}"
        )
    if not 0 <= warmup_steps < total_steps:
        raise ValueError(
            "cosine_with_warmup: expected 0 <= warmup_steps < total_steps, "
            f"got {warmup_steps} and {total_steps}"
        )

    def schedule(count: Array) -> Array:
        step = jnp.asarray(count).astype(float)
        rising = peak * (step + 1) / (warmup_steps + 1)
        progress = jnp.clip((step - warmup_steps) / (total_steps - warmup_steps), 0, 1)
        falling = final + (peak - final) * (1 + jnp.cos(jnp.pi * progress)) / 2
        return jnp.where(step < warmup_steps, rising, falling)

    return schedule
