"""Adafactor, which remembers the mean squares of a matrix by their sums along its rows and columns."""

import math
from typing import Any

import jax
import jax.numpy as jnp

from fnn.layer import Array
from fnn.optimizers.descent import descend
from fnn.optimizers.hyperparameters import Given, Schedule
from fnn.optimizers.leafwise import filled, leafwise, zeros
from fnn.optimizers.optimizer import Optimizer, compose


def relative_step(peak: float = 1e-2) -> Schedule:
    """Adafactor's own rate: ``min(peak, 1 / √(count + 1))``, the first steps of one size, then shorter.

    Source: Shazeer, Stern (2018).

    Raises:
      ValueError: the peak is negative or not finite.
    """
    if not 0 <= peak < math.inf:
        raise ValueError(f"relative_step: expected a peak finite and at least 0, got {peak}")

    def schedule(count: Array) -> Array:
        return jnp.minimum(jax.lax.rsqrt(jnp.asarray(count).astype(float) + 1), peak)

    return schedule


def adafactor(
    rate: Given | None = None,
    power: Given = 0.8,
    eps: Given = 1e-30,
    threshold: Given = 1.0,
    least_scale: Given = 1e-3,
    *,
    min_side: int = 128,
) -> Optimizer:
    """RMSProp with factored squares, bounded steps, and steps in proportion to the parameters.

        t ← t + 1        b ← 1 - t^(-power)        s ← g² + eps
        row ← b · row + (1 - b) · mean of s over columns        column ← likewise, over rows
        u ← g / √(row · column / mean(row))
        u ← u / max(1, rms(u) / threshold)
        params ← params - rate · max(least_scale, rms(params)) · u

    A parameter of two or more axes is factored along its two longest, if both have at least `min_side`
    places; any other one has v ← b · v + (1 - b) · s and u = g / √v. Without a rate, it is that of
    `relative_step`. As b is 0 at the first step, no correction of a bias is needed.

    Hyperparameters: rate, power, eps, threshold, least_scale. State: for a factored matrix (n, k),
    n + k numbers in place of the 2 · n · k of Adam; v for any other parameter; at least float32.

    Source: Shazeer, Stern (2018).

    Raises:
      ValueError: a hyperparameter is a number out of range, or `min_side` is below 1.
    """
    return compose(
        squares=scale_by_factored_squares(power, eps, min_side=min_side),
        bound=_relative(threshold, least_scale),
        rate=descend(relative_step() if rate is None else rate),
    )


def scale_by_factored_squares(power: Given, eps: Given, *, min_side: int = 128) -> Optimizer:
    """The gradient over the root of its mean squares, which are factored where that saves memory.

    The mean at step t has the weight 1 - t^(-power) for what was before. See `adafactor`.
    Source: Shazeer, Stern (2018).

    Raises:
      ValueError: a hyperparameter is a number out of range, or `min_side` is below 1.
    """
    if min_side < 1:
        raise ValueError(f"expected min_side at least 1, got {min_side}")

    def row(p: Array) -> Array:
        axes = _factored_axes(p.shape, min_side)
        return _without(p, axes[1]) if axes else _nothing(p)

    def column(p: Array) -> Array:
        axes = _factored_axes(p.shape, min_side)
        return _without(p, axes[0]) if axes else _nothing(p)

    def square(p: Array) -> Array:
        return _nothing(p) if _factored_axes(p.shape, min_side) else zeros(p)

    def prepare(h: Any, t: Array) -> dict[str, Array]:
        # 1 - t^(-power) without cancellation.
        kept = -jnp.expm1(-h.power * jnp.log(t))
        return {"kept": kept, "fresh": t**-h.power}

    def rule(h: Any, g: Array, p: Array, row: Array, column: Array, square: Array) -> Any:
        s = jnp.square(g) + h.eps
        axes = _factored_axes(p.shape, min_side)
        if not axes:
            square = h.kept * square + h.fresh * s
            return g * jax.lax.rsqrt(square), row, column, square
        second, longest = axes
        row = h.kept * row + h.fresh * s.mean(axis=longest)
        column = h.kept * column + h.fresh * s.mean(axis=second)
        wide_row = jnp.expand_dims(row, longest)
        # Two roots, as the quotient of a row without a gradient, eps, and a large mean would underflow.
        mean = jnp.sqrt(wide_row.mean(axis=second, keepdims=True))
        factors = jax.lax.rsqrt(wide_row) * mean, jax.lax.rsqrt(jnp.expand_dims(column, second))
        return g * factors[0] * factors[1], row, column, square

    return leafwise(
        rule,
        hyper={"power": power, "eps": eps},
        slots={"row": row, "column": column, "square": square},
        prepare=prepare,
    )


def _relative(threshold: Given, least_scale: Given) -> Optimizer:
    """``u = g · max(least_scale, rms(p)) / max(1, rms(g) / threshold)``."""

    def rule(h: Any, g: Array, p: Array) -> tuple[Array]:
        scale = jnp.maximum(h.least_scale, _rms(p))
        return (g * (scale / jnp.maximum(1, _rms(g) / h.threshold)),)

    return leafwise(rule, hyper={"threshold": threshold, "least_scale": least_scale})


def _factored_axes(shape: tuple[int, ...], min_side: int) -> tuple[int, int] | None:
    """The second longest and the longest axis, the later of two that are equal counting as longer."""
    if len(shape) < 2:
        return None
    second, longest = sorted(range(len(shape)), key=lambda axis: shape[axis])[-2:]
    return (second, longest) if shape[second] >= min_side else None


def _without(p: Array, axis: int) -> Array:
    return filled(p, p.shape[:axis] + p.shape[axis + 1 :], 0.0)


def _nothing(p: Array) -> Array:
    return filled(p, (0,), 0.0)


def _rms(x: Array) -> Array:
    squares = jnp.square(x)
    # Column sums first: XLA:CPU vectorizes those.
    columns = squares.sum(axis=tuple(range(x.ndim - 1))) if x.ndim > 1 else squares
    return jnp.sqrt(columns.sum() / max(x.size, 1))
