"""Schedules of one formula: constant, by steps, exponential, 1/t, polynomial, cosine, 1/√t."""

import math

import jax.numpy as jnp

from fnn.layer import Array
from fnn.optimizers.hyperparameters import Schedule
from fnn.optimizers.schedules.counts import (
    Value,
    between,
    check_end,
    check_factor,
    check_steps,
    check_value,
    counted,
    half_cosine,
    power_of,
    remaining,
)


def constant(value: Value) -> Schedule:
    """``value`` at every count; unlike a plain number it is no leaf of the optimizer's state.

    The same value at every count. Source: Robbins, Monro (1951), whose conditions it breaks: under noise,
    it leads into a region and not to a point.

    Raises:
      ValueError: the value is negative or not finite.
    """
    value = check_value("constant", "value", value)

    def schedule(count: Array) -> Array:
        return jnp.full(counted(count).shape, value, dtype=float)

    return schedule


def step_decay(start: Value, factor: float, every: int, *, final: Value = 0.0) -> Schedule:
    """Times `factor` every so many steps: ``max(start · factor^⌊count / every⌋, final)``.

    `start` at count 0 and up to every - 1; the first smaller value is at count `every`.
    Source: Goffin (1977); in networks, Krizhevsky, Sutskever, Hinton (2012).

    Raises:
      ValueError: a factor outside of (0, 1], `final` above `start`, or a value or a number of steps out
        of range.
    """
    start = check_value("step_decay", "start", start)
    final = check_value("step_decay", "final", final)
    check_end("step_decay", start, final)
    factor = check_factor("step_decay", "factor", factor, 0, 1)
    every = check_steps("step_decay", "every", every)

    def schedule(count: Array) -> Array:
        times = jnp.floor_divide(counted(count), every).astype(float)
        return jnp.maximum(start * power_of(factor, times), final)

    return schedule


def exponential(
    start: Value, factor: float, steps: int = 1, *, final: Value | None = None
) -> Schedule:
    """A straight line on a logarithmic axis: ``start · factor^(count / steps)``, as far as `final`.

    `start` at count 0, ``start · factor`` at count `steps`. With a factor below 1 the value falls, and
    not below `final` (default 0); with one above 1 it rises, as in a test of rates, and `final` has to
    be given as what it stays at. Source: Bottou (2012); Smith (2017) for the rising one.

    Raises:
      ValueError: a factor that is not positive, one above 1 without `final`, a `final` on the far side
        of `start`, or a value or a number of steps out of range.
    """
    start = check_value("exponential", "start", start)
    factor = check_factor("exponential", "factor", factor, 0, math.inf)
    steps = check_steps("exponential", "steps", steps)
    if final is None and factor > 1:
        raise ValueError(
            f"exponential: expected final, the value to stop at, with a factor above 1, {factor:g}"
        )
    last = check_value("exponential", "final", 0.0 if final is None else final)
    check_end("exponential", start, last, falls=factor <= 1)
    bound = jnp.minimum if factor > 1 else jnp.maximum

    def schedule(count: Array) -> Array:
        exponent = counted(count).astype(float) / steps
        if factor <= 1:
            return bound(start * power_of(factor, exponent), last)
        # In two halves of at most e^80, as float32 ends beyond e^88 and begins at e^-87.
        half = power_of(factor, jnp.minimum(exponent / 2, 80 / math.log(factor)))
        return bound(start * half * half, last)

    return schedule


def inverse_time(start: Value, decay: Value, steps: int = 1) -> Schedule:
    """1/t: ``start / (1 + decay · count / steps)``.

    `start` at count 0, half of it at ``count = steps / decay``. There is no final value: it goes to 0, so
    slowly that its sum has no bound, as stochastic approximation asks. Sources: Robbins, Monro (1951);
    Bottou (2012).

    Raises:
      ValueError: a value or a number of steps out of range.
    """
    start = check_value("inverse_time", "start", start)
    decay = check_value("inverse_time", "decay", decay)
    steps = check_steps("inverse_time", "steps", steps)

    def schedule(count: Array) -> Array:
        return start / (1 + decay * (counted(count).astype(float) / steps))

    return schedule


def polynomial(start: Value, steps: int, *, power: float = 1.0, final: Value = 0.0) -> Schedule:
    """A power of what remains: ``final + (start - final) · (1 - count / steps)^power``.

    `start` at count 0, `final` at count `steps` and after it. `final` may be the larger one. Source:
    Liu, Rabinovich, Berg (2015), with power 0.9.

    Raises:
      ValueError: a power that is not positive, or a value or a number of steps out of range.
    """
    start = check_value("polynomial", "start", start)
    final = check_value("polynomial", "final", final)
    power = check_factor("polynomial", "power", power, 0, math.inf)
    steps = check_steps("polynomial", "steps", steps)

    def schedule(count: Array) -> Array:
        share = remaining(counted(count), 0, steps)
        return between(start, final, jnp.power(share, power))

    return schedule


def linear(start: Value, steps: int, *, final: Value = 0.0) -> Schedule:
    """A straight line: ``final + (start - final) · (1 - count / steps)``; up, if `final` is larger.

    `start` at count 0, `final` at count `steps` and after it. Source: `polynomial` of power 1.

    Raises:
      ValueError: a value or a number of steps out of range.
    """
    start, final = check_value("linear", "start", start), check_value("linear", "final", final)
    steps = check_steps("linear", "steps", steps)

    def schedule(count: Array) -> Array:
        return between(start, final, remaining(counted(count), 0, steps))

    return schedule


def cosine(start: Value, steps: int, *, final: Value = 0.0) -> Schedule:
    """Half a cosine: ``final + (start - final) · (1 + cos(π · count / steps)) / 2``.

    `start` at count 0, `final` at count `steps` and after it. Source: Loshchilov, Hutter (2017).

    Raises:
      ValueError: a value or a number of steps out of range.
    """
    start = check_value("cosine", "start", start)
    final = check_value("cosine", "final", final)
    steps = check_steps("cosine", "steps", steps)

    def schedule(count: Array) -> Array:
        return between(start, final, half_cosine(remaining(counted(count), 0, steps)))

    return schedule


def inverse_square_root(peak: Value, warmup_steps: int) -> Schedule:
    """1/√t after a straight line up, with t = count + 1 and W = `warmup_steps`.

        value = peak · min(t / W, √(W / t))

    `peak` at count W - 1, the W-th step, as in the source (its rate is the one with
    ``peak = 1 / √(width · W)``); it never ends. Source: Vaswani et al. (2017).

    Raises:
      ValueError: a value or a number of steps out of range.
    """
    peak = check_value("inverse_square_root", "peak", peak)
    warmup_steps = check_steps("inverse_square_root", "warmup_steps", warmup_steps)

    def schedule(count: Array) -> Array:
        # Added after the conversion, as the last int32 has no successor.
        t = counted(count).astype(float) + 1
        return peak * jnp.minimum(t / warmup_steps, jnp.sqrt(warmup_steps / t))

    return schedule
