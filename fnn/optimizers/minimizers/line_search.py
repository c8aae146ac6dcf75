"""The length of a step along a given direction: a search for the strong Wolfe conditions.

With φ(a) = f(params + a · direction), a step length a is good if f falls enough and has become flat:

    φ(a) <= φ(0) + c1 · a · φ'(0)        sufficient decrease (Armijo)
    |φ'(a)| <= c2 · |φ'(0)|              curvature
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from fnn.layer import Array, PyTree
from fnn.optimizers.minimizers.minimizer import Objective
from fnn.optimizers.minimizers.vectors import choose, dot, scalar_dtype, scaled
from fnn.optimizers.optimizer import apply_updates

# The next trial keeps this share of the bracket away from both of its ends.
_MARGIN = 0.1
# Before there is a bracket, a trial goes on by so many times the last stride.
_STRIDES = (1.1, 4.0)
# A bracket must shrink by this factor in two trials, or it is halved.
_SHRINKING = 0.66


class Search(NamedTuple):
    """What a line search found; scalars but for the gradient."""

    step: Array  # the step length; 0 if no decrease was found
    value: Array  # f at params + step · direction
    slope: Array  # φ'(step)
    grads: PyTree  # the gradient there, like params
    evaluations: Array  # int32, of the objective
    wolfe: Array  # whether both conditions hold at `step`
    decreased: Array  # whether the first does; if not, `step` is 0


class _Point(NamedTuple):
    step: Array
    value: Array
    slope: Array


class _Carry(NamedTuple):
    low: _Point  # the lowest point so far that satisfies sufficient decrease; at first the start
    high: _Point  # the bracket's other end; at infinity while there is no bracket
    grads: PyTree  # at `low`
    trial: Array  # the next step length to look at
    widths: tuple[Array, Array]  # of the bracket, one and two trials ago
    evaluations: Array
    wolfe: Array  # whether `low` satisfies both conditions


def line_search(
    objective: Objective,
    value: Array,
    grads: PyTree,
    params: PyTree,
    direction: PyTree,
    first: Array | float = 1.0,
    *,
    c1: Array | float = 1e-4,
    c2: Array | float = 0.9,
    max_evaluations: int = 20,
) -> Search:
    """A step length along `direction` that satisfies the strong Wolfe conditions.

    It goes outwards from `first` until a minimum is bracketed, and then shrinks the bracket to the
    minimum of the cubic through its ends, kept away from them, or to its middle where that shrinks too
    slowly or an end is not finite. One `lax.while_loop`, with one evaluation in its body.

    Failure is visible: when `max_evaluations` are used up, or the bracket is as small as rounding, the
    lowest point that satisfies sufficient decrease is taken (`wolfe` is False), and the start if there is
    none (`decreased` is False and `step` 0), as it is when the direction does not go down at all.

    Args:
      objective: ``objective(params) -> (value, grads)``.
      value: the objective's value at `params`.
      grads: its gradient there.
      params: where the line begins.
      direction: like params, at least float32; its slope ``grads · direction`` must be negative.
      first: the first step length to look at.
      c1: how much of the decrease that the slope promises is enough.
      c2: how much of the slope may be left; in (c1, 1).
      max_evaluations: of the objective, at most; at least 1.

    Source: Nocedal, Wright (2006), algorithms 3.5 and 3.6; the safeguards: Moré, Thuente (1994).

    Raises:
      ValueError: not 0 < c1 < c2 < 1 (numbers alone can be looked at), or no evaluation.
    """
    check_wolfe(c1, c2, max_evaluations)
    dtype = scalar_dtype(params)
    c1, c2, first, start_value = (
        jnp.asarray(scalar).astype(dtype) for scalar in (c1, c2, first, value)
    )
    zero, infinity = jnp.zeros((), dtype), jnp.asarray(np.inf, dtype)
    start = _Point(zero, start_value, dot(grads, direction, dtype))

    def unfinished(carry: _Carry) -> Array:
        ends = jnp.maximum(jnp.abs(carry.low.step), jnp.abs(carry.high.step))
        roomy = jnp.abs(carry.high.step - carry.low.step) > jnp.finfo(dtype).eps * ends
        roomy = roomy | jnp.isinf(carry.high.step)
        return ~carry.wolfe & roomy & (carry.evaluations < max_evaluations) & (start.slope < 0)

    def body(carry: _Carry) -> _Carry:
        low, high = carry.low, carry.high
        seen, there = objective(apply_updates(params, scaled(carry.trial, direction)))
        trial = _Point(carry.trial, seen.astype(dtype), dot(there, direction, dtype))
        enough = trial.value <= start.value + c1 * trial.step * start.slope
        finite = jnp.isfinite(trial.value) & jnp.isfinite(trial.slope)
        # Where the values are equal up to rounding, the slopes tell which one is nearer to the minimum.
        level = trial.value <= low.value + 2 * jnp.finfo(dtype).eps * jnp.abs(low.value)
        flatter = level & (jnp.abs(trial.slope) < jnp.abs(low.slope))
        better = enough & finite & ((trial.value < low.value) | flatter)
        wolfe = better & (jnp.abs(trial.slope) <= c2 * jnp.abs(start.slope))
        # A lower point replaces `low`, and `high` stays on the side where the function falls from there.
        rising = trial.slope * jnp.sign(high.step - low.step) >= 0
        new_high = choose(better, choose(rising, low, high), trial)
        new_low = choose(better, trial, low)
        width = jnp.abs(new_high.step - new_low.step)
        inside = _inside(new_low, new_high, halve=width > _SHRINKING * carry.widths[1])
        outside = _outside(low, trial)
        return _Carry(
            new_low,
            new_high,
            choose(better, _like(there, params), carry.grads),
            jnp.where(jnp.isinf(width), outside, inside),
            (width, carry.widths[0]),
            carry.evaluations + 1,
            wolfe,
        )

    begin = _Carry(
        start,
        start._replace(step=infinity),
        _like(grads, params),
        first,
        (infinity, infinity),
        jnp.zeros((), jnp.int32),
        jnp.zeros((), bool),
    )
    end = jax.lax.while_loop(unfinished, body, begin)
    low = end.low
    return Search(
        low.step, low.value, low.slope, end.grads, end.evaluations, end.wolfe, low.step > 0
    )


def check_wolfe(c1: Any, c2: Any, max_evaluations: int) -> None:
    """Refuse constants under which there may be no step length that is good.

    Raises:
      ValueError: not 0 < c1 < c2 < 1, where the values can be looked at, or no evaluation.
    """
    if max_evaluations < 1:
        raise ValueError(
            f"expected max_evaluations of a line search at least 1, got {max_evaluations}"
        )
    if any(callable(c) or isinstance(c, jax.core.Tracer) for c in (c1, c2)):
        return
    with jax.ensure_compile_time_eval():  # they may be constants of a function being traced
        low, high = np.asarray(c1, np.float64), np.asarray(c2, np.float64)
    if not ((low > 0) & (low < high) & (high < 1)).all():
        raise ValueError(f"expected 0 < c1 < c2 < 1 of a line search, got c1 = {c1} and c2 = {c2}")


def _like(grads: PyTree, params: PyTree) -> PyTree:
    return jax.tree.map(lambda g, p: jnp.asarray(g).astype(p.dtype), grads, params)


def _cubic(a: _Point, b: _Point) -> Array:
    """Where the cubic through two points, with their slopes, has its minimum; NaN if it has none.

    Source: Nocedal, Wright (2006), equation 3.59.
    """
    stride = b.step - a.step
    d1 = a.slope + b.slope - 3 * (b.value - a.value) / stride
    d2 = jnp.sign(stride) * jnp.sqrt(jnp.square(d1) - a.slope * b.slope)
    return b.step - stride * (b.slope + d2 - d1) / (b.slope - a.slope + 2 * d2)


def _inside(low: _Point, high: _Point, halve: Array) -> Array:
    """A step length between the ends of a bracket."""
    near, far = jnp.minimum(low.step, high.step), jnp.maximum(low.step, high.step)
    middle, margin = (near + far) / 2, _MARGIN * (far - near)
    guess = jnp.clip(_cubic(low, high), near + margin, far - margin)
    return jnp.where(jnp.isfinite(guess) & ~halve, guess, middle)


def _outside(before: _Point, now: _Point) -> Array:
    """A step length beyond `now`, along which the function still falls."""
    stride = now.step - before.step
    shortest, longest = (now.step + factor * stride for factor in _STRIDES)
    guess = _cubic(before, now)
    # A minimum behind, or none at all: the cubic falls all the way.
    return jnp.where(guess > now.step, jnp.clip(guess, shortest, longest), longest)
