"""Schedules that rise again: warm restarts, one cycle, triangles."""

from typing import Literal

import jax.numpy as jnp

from fnn.layer import Array
from fnn.optimizers.hyperparameters import Schedule
from fnn.optimizers.schedules.counts import (
    MOST,
    Value,
    between,
    check_factor,
    check_steps,
    check_value,
    counted,
    half_cosine,
    power_of,
)
from fnn.optimizers.schedules.pieces import piecewise_interpolated


def cosine_with_restarts(
    peak: Value, steps: int, *, growth: int = 1, shrink: float = 1.0, final: Value = 0.0
) -> Schedule:
    """Half a cosine after the other; cycle i = 0, 1, … is `steps` · growthⁱ long.

    With p steps made in the cycle of length T:

        value = final + (peak · shrinkⁱ - final) · (1 + cos(π · p / T)) / 2

    The peak is at the first count of each cycle: 0, `steps`, `steps` · (1 + growth), …. The last step of
    a cycle, p = T - 1, is a little above `final`, which is never reached: the next count is a peak again.
    Source: Loshchilov, Hutter (2017), SGDR.

    Raises:
      ValueError: a growth that is no positive integer, a shrink outside of (0, 1], or a value or a number
        of steps out of range.
    """
    name = "cosine_with_restarts"
    peak, final = check_value(name, "peak", peak), check_value(name, "final", final)
    shrink = check_factor(name, "shrink", shrink, 0, 1)
    steps, growth = check_steps(name, "steps", steps), check_steps(name, "growth", growth)
    starts, lengths = [0], [steps]  # of all cycles that an int32 can count, at most 31 if they grow
    while growth > 1 and starts[-1] + lengths[-1] <= MOST:
        starts.append(starts[-1] + lengths[-1])
        lengths.append(lengths[-1] * growth)

    def schedule(count: Array) -> Array:
        count = counted(count)
        if growth == 1:
            cycle = jnp.floor_divide(count, steps).astype(float)
            over = jnp.mod(count, steps).astype(float) / steps
        else:
            cycle, over = jnp.zeros(jnp.shape(count)), count.astype(float) / steps
            for i, (start, length) in enumerate(zip(starts, lengths, strict=True)):
                here = count >= start
                cycle = jnp.where(here, float(i), cycle)
                over = jnp.where(here, (count - start).astype(float) / length, over)
        highest = peak if shrink == 1 else peak * power_of(shrink, cycle)
        return between(highest, final, half_cosine(1 - over))

    return schedule


def one_cycle(
    peak: Value,
    steps: int,
    *,
    start: Value | None = None,
    final: Value | None = None,
    rise: float = 0.3,
    shape: Literal["cosine", "linear"] = "cosine",
) -> Schedule:
    """Once up and down: from `start` to `peak`, then on to `final`, far below `start`.

    `start` (default peak / 25) at count 0, `peak` at count ``round(rise · steps)``, `final` (default
    peak / 250,000) at count `steps` and after it. Each phase is half a cosine, or a line:
    ``a + (b - a) · (1 - cos(π · s)) / 2`` or ``a + (b - a) · s``, with s the share of it that is over.

    Momentum goes the other way, lowest where the rate is highest:

        momentum(one_cycle(0.1, T), decay=one_cycle(0.85, T, start=0.95, final=0.95))

    Phases of other lengths, or more of them: `piecewise_interpolated`.
    Source: Smith, Topin (2018).

    Raises:
      ValueError: a phase without a step, another shape, or a value or a number of steps out of range.
    """
    peak = check_value("one_cycle", "peak", peak)
    steps = check_steps("one_cycle", "steps", steps, least=2)
    turn = round(check_factor("one_cycle", "rise", rise, 0, 1) * steps)
    if not 0 < turn < steps:
        raise ValueError(
            f"one_cycle: expected a step at least up and one down, got {turn} of {steps} up; "
            "change rise or steps"
        )
    if shape not in ("cosine", "linear"):
        raise ValueError(
            f"one_cycle: expected shape to be one of ['cosine', 'linear'], got {shape!r}"
        )
    first = check_value("one_cycle", "start", peak / 25 if start is None else start)
    last = check_value("one_cycle", "final", peak / 250_000 if final is None else final)
    return piecewise_interpolated({0: first, turn: peak, steps: last}, shape=shape)


Mode = Literal["triangular", "triangular2", "exp_range"]


def cyclical(
    low: Value, high: Value, half_cycle: int, *, mode: Mode = "triangular", factor: float = 0.9999
) -> Schedule:
    """Triangles between `low` and `high`, of `half_cycle` steps up and as many down, for ever.

    With S = `half_cycle`, p = count mod 2S and k = ⌊count / 2S⌋:

        value = low + (high - low) · (1 - |p / S - 1|) · scale
        scale = 1 (triangular),  2⁻ᵏ (triangular2),  factor^count (exp_range)

    `low` at the counts 0, 2S, 4S, …; the peaks at S, 3S, …. Source: Smith (2017).

    Raises:
      ValueError: another mode, a factor outside of (0, 1], `low` above `high`, or a value or a number of
        steps out of range.
    """
    low, high = check_value("cyclical", "low", low), check_value("cyclical", "high", high)
    if isinstance(low, float) and isinstance(high, float) and low > high:
        raise ValueError(f"cyclical: expected low at most high, got {low} and {high}")
    half_cycle = check_steps("cyclical", "half_cycle", half_cycle)
    period = check_steps("cyclical", "a cycle (2 · half_cycle)", 2 * half_cycle)
    factor = check_factor("cyclical", "factor", factor, 0, 1)
    if mode not in ("triangular", "triangular2", "exp_range"):
        raise ValueError(
            "cyclical: expected mode to be one of ['triangular', 'triangular2', 'exp_range'], "
            f"got {mode!r}"
        )

    def schedule(count: Array) -> Array:
        count = counted(count)
        share = (half_cycle - jnp.abs(jnp.mod(count, period) - half_cycle)).astype(
            float
        ) / half_cycle
        if mode == "triangular2":
            share = share * jnp.exp2(-jnp.floor_divide(count, period).astype(float))
        elif mode == "exp_range":
            share = share * power_of(factor, count.astype(float))
        return between(high, low, share)

    return schedule
