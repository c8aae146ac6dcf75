"""Activations without parameters: sigmoid, tanh, relu, softmax.

Where the derivative is a function of the output, the output is what is cached: the next layer needs
it anyway, so that it costs no memory. All take floats of any dtype, and raise a TypeError for integers.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from fnn.dtypes import check_inexact
from fnn.layer import Array, Layer, Static, pure


class OutputCache(NamedTuple):
    """The output, from which the derivative is computed."""

    y: Array


class SignCache(NamedTuple):
    """Which inputs passed, one byte each."""

    passed: Array  # bool, the shape of x
    dtype: Static[Any]  # of x


def sigmoid() -> Layer:
    """The logistic function.

    Forward: ``y = 1 / (1 + exp(-x))``. Backward: ``dx = dy · y · (1 - y)``.
    Shapes: any. Cache: y.
    """

    def forward(params: tuple[()], x: Array) -> tuple[Array, OutputCache]:
        del params  # there are none
        check_inexact(x)
        y = jax.lax.logistic(x)
        return y, OutputCache(y)

    def backward(params: tuple[()], cache: OutputCache, dy: Array) -> tuple[tuple[()], Array]:
        y = cache.y
        return params, dy.astype(y.dtype) * (y * (1 - y))

    return pure("sigmoid", forward, backward)


def tanh() -> Layer:
    """The hyperbolic tangent.

    Forward: ``y = tanh(x)``. Backward: ``dx = dy · (1 + y) · (1 - y)``. Shapes: any. Cache: y.
    """

    def forward(params: tuple[()], x: Array) -> tuple[Array, OutputCache]:
        del params  # there are none
        check_inexact(x)
        y = jnp.tanh(x)
        return y, OutputCache(y)

    def backward(params: tuple[()], cache: OutputCache, dy: Array) -> tuple[tuple[()], Array]:
        # Not 1 - y², which rounds where |y| is near 1; it also takes a fifth longer than the product.
        y = cache.y
        return params, dy.astype(y.dtype) * ((1 + y) * (1 - y))

    return pure("tanh", forward, backward)


def relu() -> Layer:
    """The rectifier.

    Forward: ``y = x`` where x > 0, else 0; a NaN stays one. Backward: ``dx = dy`` where x > 0, else 0.
    Subgradient: 0 at x = 0, as `jax.nn.relu`. Shapes: any. Cache: the comparison, one byte an
    element. Source: Nair, Hinton (2010).
    """

    def forward(params: tuple[()], x: Array) -> tuple[Array, SignCache]:
        del params  # there are none
        check_inexact(x)
        passed = ~(x <= 0)  # so written that a NaN passes, instead of turning into a healthy 0
        return jnp.where(passed, x, 0), SignCache(passed, Static(x.dtype))

    def backward(params: tuple[()], cache: SignCache, dy: Array) -> tuple[tuple[()], Array]:
        return params, jnp.where(cache.passed, dy.astype(cache.dtype.value), 0)

    return pure("relu", forward, backward)


def softmax(axis: int = -1) -> Layer:
    """Positive numbers that sum to one along `axis`.

    Forward: ``y = exp(x - max x) / Σ exp(x - max x)``. Backward: ``dx = y · (dy - Σ dy · y)``, which
    sums to 0 along the axis. Shapes: any with that axis. Cache: y. For training a classifier use
    `losses.softmax_cross_entropy` on the logits, which cannot take the logarithm of a 0.
    Source: Bridle (1990).
    """

    def forward(params: tuple[()], x: Array) -> tuple[Array, OutputCache]:
        del params  # there are none
        check_inexact(x)
        # The shift cancels, so it has no derivative: telling autodiff so keeps it exact and cheap.
        shift = jax.lax.stop_gradient(x.max(axis=axis, keepdims=True, initial=-jnp.inf))
        e = jnp.exp(x - shift)
        y = e / e.sum(axis=axis, keepdims=True)
        return y, OutputCache(y)

    def backward(params: tuple[()], cache: OutputCache, dy: Array) -> tuple[tuple[()], Array]:
        y, dy = cache.y, dy.astype(cache.y.dtype)
        return params, y * (dy - (dy * y).sum(axis=axis, keepdims=True))

    return pure("softmax", forward, backward)
