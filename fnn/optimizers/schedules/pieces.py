"""Schedules made of pieces: steps and lines between given counts, and one schedule after another."""

import itertools
from collections.abc import Mapping, Sequence
from typing import Literal

import jax.numpy as jnp

from fnn.layer import Array
from fnn.optimizers.hyperparameters import Schedule
from fnn.optimizers.schedules.counts import (
    Value,
    between,
    check_boundaries,
    check_steps,
    check_value,
    counted,
    remaining,
    shape_of,
)
from fnn.optimizers.schedules.decays import cosine


def piecewise_constant(values: Sequence[Value], boundaries: Sequence[int]) -> Schedule:
    """``values[i]`` at ``boundaries[i - 1] <= count < boundaries[i]``: each boundary brings the next.

    The first value from count 0 on, the last one from the last boundary on. Source: Krizhevsky,
    Sutskever, Hinton (2012).

    Raises:
      ValueError: not one value more than there are boundaries, boundaries that do not rise, or a value
        out of range.
    """
    name = "piecewise_constant"
    levels = [check_value(name, f"values[{i}]", value) for i, value in enumerate(values)]
    counts = check_boundaries(name, boundaries)
    if len(levels) != len(counts) + 1:
        raise ValueError(
            f"{name}: expected one value more than boundaries, got {len(levels)} and {len(counts)}"
        )

    def schedule(count: Array) -> Array:
        count = counted(count)
        value = jnp.full(count.shape, levels[0], dtype=float)
        for boundary, level in zip(counts, levels[1:], strict=True):
            value = jnp.where(count >= boundary, level, value)
        return value

    return schedule


def piecewise_interpolated(
    points: Mapping[int, Value], *, shape: Literal["linear", "cosine"] = "linear"
) -> Schedule:
    """Through the given points, count -> value: straight, or by half cosines.

    Between the points (c, a) and (d, b), with s = (count - c) / (d - c):

        value = a + (b - a) · s   or   a + (b - a) · (1 - cos(π · s)) / 2

    Each value is there at its count; before the first count it is the first one, after the last the last.
    Source: Smith (2017) for the linear, Loshchilov, Hutter (2017) for the cosine form.

    Raises:
      ValueError: fewer than two points, counts that do not rise, another shape, or a value out of range.
    """
    name = "piecewise_interpolated"
    counts = check_boundaries(name, points, least=0)
    values = [check_value(name, f"the value at {c}", points[c]) for c in counts]
    share = shape_of(name, shape, ("linear", "cosine"))
    if len(counts) < 2:
        raise ValueError(f"{name}: expected two points at least, got {len(counts)}")
    pieces = list(itertools.pairwise(zip(counts, values, strict=True)))

    def schedule(count: Array) -> Array:
        count = counted(count)
        value = jnp.full(count.shape, values[0], dtype=float)
        for (c, a), (d, b) in pieces:
            value = jnp.where(count >= c, between(a, b, share(remaining(count, c, d - c))), value)
        return value

    return schedule


def join(schedules: Sequence[Schedule], boundaries: Sequence[int]) -> Schedule:
    """One schedule after the other: ``schedules[i](count - boundaries[i - 1])`` from that boundary on.

    Each begins at its boundary with a count 0 of its own. Source: the phases of Goyal et al. (2017).

    Raises:
      TypeError: one of them is no function.
      ValueError: not one schedule more than there are boundaries, or boundaries that do not rise.
    """
    counts = check_boundaries("join", boundaries)
    if len(schedules) != len(counts) + 1:
        raise ValueError(
            "join: expected one schedule more than boundaries, "
            f"got {len(schedules)} and {len(counts)}"
        )
    for i, schedule in enumerate(schedules):
        _check_schedule("join", f"schedules[{i}]", schedule)

    def joined(count: Array) -> Array:
        count = counted(count)
        value = jnp.asarray(schedules[0](count), dtype=float)
        for boundary, schedule in zip(counts, schedules[1:], strict=True):
            later = jnp.asarray(schedule(jnp.maximum(count - boundary, 0)), dtype=float)
            value = jnp.where(count >= boundary, later, value)
        return value

    return joined


def warmup(schedule: Schedule, steps: int) -> Schedule:
    """A straight line up to the first value of any schedule, which then begins.

    With W = `steps`:

        count < W:   schedule(0) · (count + 1) / (W + 1)        so that the first step is not lost
        else:        schedule(count - W)

    The schedule's own count 0, often its peak, is at count W; with W = 0 it is the schedule. A schedule
    for T steps in all is built for T - W. Source: Goyal et al. (2017).

    Raises:
      TypeError: `schedule` is no function.
      ValueError: the number of steps is negative or no integer.
    """
    _check_schedule("warmup", "a schedule", schedule)
    steps = check_steps("warmup", "steps", steps, least=0)
    if steps == 0:
        return schedule

    def rising(count: Array) -> Array:
        first = jnp.asarray(schedule(jnp.zeros_like(count)), dtype=float)
        return first * ((counted(count).astype(float) + 1) / (steps + 1))

    return join([rising, schedule], [steps])


def cosine_with_warmup(
    peak: Value, total_steps: int, *, warmup_steps: int = 0, final: Value = 0.0
) -> Schedule:
    """A straight line up to `peak`, then half a cosine down to `final`, in so many steps together.

    With W = `warmup_steps` and T = `total_steps`, ``warmup(cosine(peak, T - W, final=final), W)``:

        count < W:   peak · (count + 1) / (W + 1)
        else:        final + (peak - final) · (1 + cos(π · (count - W) / (T - W))) / 2

    `peak` at count W, `final` at count T and after it, so the last of T steps still moves. Sources:
    Loshchilov, Hutter (2017); warmup: Goyal et al. (2017).

    Raises:
      ValueError: not 0 <= warmup_steps < total_steps; or a value that is negative or not finite.
    """
    peak = check_value("cosine_with_warmup", "peak", peak)
    final = check_value("cosine_with_warmup", "final", final)
    check_steps("cosine_with_warmup", "total_steps", total_steps)
    if not 0 <= warmup_steps < total_steps:
        raise ValueError(
            "cosine_with_warmup: expected 0 <= warmup_steps < total_steps, "
            f"got {warmup_steps} and {total_steps}"
        )
    return warmup(cosine(peak, total_steps - warmup_steps, final=final), warmup_steps)


def warmup_stable_decay(
    peak: Value,
    warmup_steps: int,
    stable_steps: int,
    decay_steps: int,
    *,
    final: Value = 0.0,
    shape: Literal["linear", "cosine", "root"] = "linear",
) -> Schedule:
    """Up, along, and down only at the end, so that a run may go on: the decay starts when it is wanted.

    With W, S and D the three numbers of steps, and s = (count - W - S) / D in the last phase:

        count < W:        peak · (count + 1) / (W + 1)
        count < W + S:    peak
        else:             final + (peak - final) · (1 - s),  (1 + cos(π · s)) / 2 or 1 - √s for (1 - s)

    `peak` from count W to W + S, `final` at count W + S + D and after it. Sources: Hu et al. (2024);
    the root: Hägele et al. (2024).

    Raises:
      ValueError: another shape, or a value or a number of steps out of range.
    """
    name = "warmup_stable_decay"
    peak, final = check_value(name, "peak", peak), check_value(name, "final", final)
    check_steps(name, "warmup_steps", warmup_steps, least=0)
    check_steps(name, "stable_steps", stable_steps, least=0)
    check_steps(name, "decay_steps", decay_steps)
    share = shape_of(name, shape, ("linear", "cosine", "root"))

    def stable_then_down(count: Array) -> Array:
        left = remaining(counted(count), stable_steps, decay_steps)
        return between(peak, final, share(left))

    return warmup(stable_then_down, warmup_steps)


def _check_schedule(name: str, what: str, schedule: object) -> None:
    if not callable(schedule):
        raise TypeError(
            f"{name}: expected {what} to be a function of the count, got {schedule!r}; "
            "for a number, constant(number)"
        )
