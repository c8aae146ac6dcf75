"""Layers that compare the numbers along an axis: softmax, its logarithm, and hardmax."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from fnn.dtypes import check_inexact
from fnn.layer import Array, Layer, Static, pure
from fnn.layers.groupwise import check_axis, first_largest
from fnn.layers.pointwise import OutputCache, widened


class LogSoftmaxCache(NamedTuple):
    """The input and two numbers a group; the probabilities are computed again from the three."""

    x: Array
    shift: Array  # max x, at least float32, 1 along the axis
    log_sum: Array  # log Σ exp(x - shift), like it


class HardmaxCache(NamedTuple):
    """What dx is to look like; no array."""

    shape: Static[tuple[int, ...]]  # of x
    dtype: Static[Any]  # of x


def softmax(axis: int = -1) -> Layer:
    """Positive numbers that sum to one along `axis`.

    Forward: ``y = exp(x - max x) / Σ exp(x - max x)``. Backward: ``dx = y · (dy - Σ dy · y)``, which
    sums to 0 along the axis. Shapes: any with that axis. Cache: y. A group of -∞ alone gives NaN. For
    training a classifier use `losses.softmax_cross_entropy` on the logits, which cannot take the
    logarithm of a 0. Source: Bridle (1990).

    Raises:
      TypeError: x is of integers.
      ValueError: x has no such axis.
    """

    def forward(params: tuple[()], x: Array) -> tuple[Array, OutputCache]:
        del params  # there are none
        check_inexact(x)
        check_axis("softmax", axis, x)
        wide = widened(x)
        e = jnp.exp(wide - _shift(wide, axis))
        y = (e / e.sum(axis=axis, keepdims=True)).astype(x.dtype)
        return y, OutputCache(y)

    def backward(params: tuple[()], cache: OutputCache, dy: Array) -> tuple[tuple[()], Array]:
        y = widened(cache.y)
        dy = dy.astype(y.dtype)
        dx = y * (dy - (dy * y).sum(axis=axis, keepdims=True))
        return params, dx.astype(cache.y.dtype)

    return pure("softmax", forward, backward)


def log_softmax(axis: int = -1) -> Layer:
    """The logarithm of the softmax, which is finite where the softmax rounds to 0.

    Forward: ``y = (x - max x) - log Σ exp(x - max x)``. Backward: ``dx = dy - exp(y) · Σ dy``. Shapes:
    any with that axis. Cache: x and two numbers a group, from which exp(y) is right in narrow floats
    too. A group of -∞ alone gives NaN. Source: Bridle (1990).

    Raises:
      TypeError: x is of integers.
      ValueError: x has no such axis.
    """

    def forward(params: tuple[()], x: Array) -> tuple[Array, LogSoftmaxCache]:
        del params  # there are none
        check_inexact(x)
        check_axis("log_softmax", axis, x)
        wide = widened(x)
        shift = _shift(wide, axis)
        centred = wide - shift
        log_sum = jnp.log(jnp.exp(centred).sum(axis=axis, keepdims=True))
        return (centred - log_sum).astype(x.dtype), LogSoftmaxCache(x, shift, log_sum)

    def backward(params: tuple[()], cache: LogSoftmaxCache, dy: Array) -> tuple[tuple[()], Array]:
        x, shift, log_sum = cache
        dy = dy.astype(shift.dtype)
        probabilities = jnp.exp((x.astype(shift.dtype) - shift) - log_sum)
        dx = dy - probabilities * dy.sum(axis=axis, keepdims=True)
        return params, dx.astype(x.dtype)

    return pure("log_softmax", forward, backward)


def hardmax(axis: int = -1) -> Layer:
    """One for the largest number along `axis`, the first of equals, and zero for the others.

    Forward: ``y_i = 1`` where i is the place of the maximum, else 0; all NaN where a number is one.
    Backward: ``dx = 0``: the output is constant but for jumps, so nothing learns through it. Shapes: any
    with that axis. Cache: x's shape and dtype, no array. Source: Feldman, Ballard (1982), whose networks
    take the winner alone.

    Raises:
      TypeError: x is of integers.
      ValueError: x has no such axis, or no number along it.
    """

    def forward(params: tuple[()], x: Array) -> tuple[Array, HardmaxCache]:
        del params  # there are none
        check_inexact(x)
        check_axis("hardmax", axis, x, largest=True)
        x_value = jax.lax.stop_gradient(x)
        place = first_largest(x_value, axis)
        places = jax.lax.broadcasted_iota(jnp.int32, x.shape, axis % x.ndim)
        y = jnp.where(places == place, jnp.ones_like(x), 0)
        y = jnp.where(jnp.isnan(x_value).any(axis=axis, keepdims=True), jnp.nan, y)
        return y, HardmaxCache(Static(x.shape), Static(x.dtype))

    def backward(params: tuple[()], cache: HardmaxCache, dy: Array) -> tuple[tuple[()], Array]:
        del dy  # it is multiplied by 0
        return params, jnp.zeros(cache.shape.value, cache.dtype.value)

    return pure("hardmax", forward, backward)


def _shift(x: Array, axis: int) -> Array:
    # The shift cancels, so it has no derivative: telling autodiff so keeps it exact and cheap.
    return jax.lax.stop_gradient(x.max(axis=axis, keepdims=True, initial=-jnp.inf))
