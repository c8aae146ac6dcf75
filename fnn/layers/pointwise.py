"""What the activations share: maps of single elements, by their value and their slope.

    y = value(x)        dx = dy · slope

The slope is a function of the output where that is cheaper, and of the input elsewhere; so forward keeps
one array and backward needs no other. Narrow floats are computed in float32 and rounded once.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp

from fnn.dtypes import accumulation_dtype, check_inexact
from fnn.layer import Array, Layer, Static, pure


class OutputCache(NamedTuple):
    """The output, from which the slope is computed; the layer after it often keeps it anyway."""

    y: Array


class InputCache(NamedTuple):
    """The input, from which the slope is computed."""

    x: Array


class MaskCache(NamedTuple):
    """Which elements passed, one byte each."""

    passed: Array  # bool, the shape of x
    dtype: Static[Any]  # of x


class Curve(NamedTuple):
    """A function of one number and its derivative; both take an array of float32 at least."""

    value: Callable[[Array], Array]
    slope: Callable[[Array], Array]


class Gate(NamedTuple):
    """A curve of a gate, whose value and slope are both needed in backward: there they share what they
    can.

    `value` alone is what autodiff may go through; the pair need not be written for that.
    """

    value: Callable[[Array], Array]
    value_and_slope: Callable[[Array], tuple[Array, Array]]

    def curve(self) -> Curve:
        """The same as a curve."""
        return Curve(self.value, lambda x: self.value_and_slope(x)[1])


def from_output(name: str, curve: Curve) -> Layer:
    """The layer of a curve whose `slope` is written as a function of the output."""

    def forward(params: tuple[()], x: Array) -> tuple[Array, OutputCache]:
        del params  # there are none
        check_inexact(x)
        y = curve.value(widened(x)).astype(x.dtype)
        return y, OutputCache(y)

    def backward(params: tuple[()], cache: OutputCache, dy: Array) -> tuple[tuple[()], Array]:
        y = widened(cache.y)
        return params, (dy.astype(y.dtype) * curve.slope(y)).astype(cache.y.dtype)

    return pure(name, forward, backward)


def from_input(name: str, curve: Curve) -> Layer:
    """The layer of a curve whose `slope` is written as a function of the input."""

    def forward(params: tuple[()], x: Array) -> tuple[Array, InputCache]:
        del params  # there are none
        check_inexact(x)
        return curve.value(widened(x)).astype(x.dtype), InputCache(x)

    def backward(params: tuple[()], cache: InputCache, dy: Array) -> tuple[tuple[()], Array]:
        x = widened(cache.x)
        return params, (dy.astype(x.dtype) * curve.slope(x)).astype(cache.x.dtype)

    return pure(name, forward, backward)


def widened(x: Array) -> Array:
    """x in float32 at least."""
    return x.astype(accumulation_dtype(x.dtype))


def bounded(x: Array, bound: float) -> Array:
    """x between -bound and bound; a NaN stays one. Its derivative is 0 from the bounds outwards.

    Where a curve equals its asymptote to the last digit, it is evaluated at the bound in place of x: that
    is what keeps ∞ · 0 out of values and of derivatives, in every mode. Selected, not clamped: at a NaN
    the derivatives of `jax.numpy.clip` are 0 in one mode and NaN in the other.
    """
    return jnp.where(x <= -bound, -bound, jnp.where(x >= bound, bound, x))
