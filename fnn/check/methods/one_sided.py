"""Derivatives from the left and from the right, by differences of the forward pass alone."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from fnn.check.points import scale_of
from fnn.check.precision import exact
from fnn.check.subject import Vector

EPSILON = float(np.finfo(np.float64).eps)
STEPS = (
    1e-3,
    1e-6,
)  # of the usual element: a kink of another place within the first is not within both
ULPS = 8.0  # the rounding of an output, in units in its last place


class OneSided(NamedTuple):
    """Both derivatives of every output, of the output's shape; `error` bounds the error of either."""

    left: Vector
    right: Vector
    error: Vector


def one_sided(
    function: Callable[[Any], Any],
    x: Any,
    direction: Any,
    *,
    scale: float | None = None,
) -> OneSided:
    """Left and right derivative of `function` at `x`, element by element of its output.

        left  = lim (f(x) - f(x - h d)) / h        right = lim (f(x + h d) - f(x)) / h        h -> 0+

    Each from D(h), D(h/2), D(h/4) by Richardson's extrapolation of the orders h and h², for two first
    steps. Of the two, the one with the smaller error estimate is kept, output by output; where they
    contradict each other, that of the smaller step. Where the function jumps, or has no values on a
    side, the error is large or infinite.

    Args:
      function: of one array, giving one array; run in float64.
      x: the point, an array.
      direction: an index of x, such as ``(0, 2)``, for the derivative by that element; or an array of
        x's shape for the one along it.
      scale: the size of a usual element of x, which is the unit of the step; by default its root mean
        square, or 1 where that is 0.

    Raises:
      IndexError: the index is none of x's.
      ValueError: the direction is an array of another shape.
    """
    center = np.asarray(x, np.float64)
    along = _direction(center, direction)
    unit = scale_of(center) if scale is None else scale
    with exact(), np.errstate(all="ignore"):  # what is not finite ends up in `error`
        middle = np.asarray(function(center), np.float64)

        def side(sign: float) -> tuple[Vector, Vector]:
            found = [
                _extrapolated(
                    lambda h: np.asarray(function(center + sign * h * along), np.float64),
                    middle,
                    relative * unit,
                )
                for relative in STEPS
            ]
            (coarse, coarse_error), (fine, fine_error) = found
            # Two estimates that exclude each other: the function turns within the larger step.
            apart = np.abs(coarse - fine) > 3 * (coarse_error + fine_error)
            better = (fine_error < coarse_error) | apart
            return np.where(better, fine, coarse), np.where(better, fine_error, coarse_error)

        right, right_error = side(1.0)
        left, left_error = side(-1.0)
    return OneSided(-left, right, np.maximum(left_error, right_error))


def _extrapolated(
    value: Callable[[float], Vector], middle: Vector, step: float
) -> tuple[Vector, Vector]:
    """lim (value(h) - middle) / h, and a bound of its error; infinite where it is not finite."""
    steps = (step, step / 2, step / 4)
    values = [value(h) for h in steps]
    d = [(v - middle) / h for v, h in zip(values, steps, strict=True)]
    first = 2 * d[1] - d[0], 2 * d[2] - d[1]
    limit = (4 * first[1] - first[0]) / 3
    largest = np.maximum.reduce([np.abs(middle), *(np.abs(v) for v in values)])
    error = np.abs(limit - first[1]) + ULPS * EPSILON * largest / steps[-1]
    return limit, np.where(np.isfinite(error), error, np.inf)


def _direction(x: Vector, direction: Any) -> Vector:
    if isinstance(direction, int) or (
        isinstance(direction, tuple) and all(isinstance(i, int | np.integer) for i in direction)
    ):
        along = np.zeros(x.shape)
        along[direction] = 1.0
        return along
    along = np.asarray(direction, np.float64)
    if along.shape != x.shape:
        raise ValueError(
            f"expected an index of x or a direction of its shape {x.shape}, got shape {along.shape}"
        )
    return along
