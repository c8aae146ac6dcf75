"""Activations of straight lines in place of a curve: hard sigmoid, hard tanh, hard swish.

At their corners the slope is that of the outer line. A NaN stays a NaN.
"""

import jax.numpy as jnp

from fnn.dtypes import check_inexact
from fnn.layer import Array, Layer, Static, pure
from fnn.layers.pointwise import Curve, MaskCache, bounded, from_input


def hard_sigmoid() -> Layer:
    """A straight line in place of the sigmoid.

    Forward: ``y = x / 6 + 1/2`` where -3 < x < 3, else 0 or 1. Backward: ``dx = dy / 6`` where
    -3 < x < 3, else 0. Subgradient: 0 at both corners, as in PyTorch and `jax.nn.hard_sigmoid`.
    Shapes: any. Cache: the comparison, one byte an element. Source: Howard et al. (2019).

    Raises:
      TypeError: x is of integers.
    """
    return _between("hard_sigmoid", 3.0, 1 / 6, 0.5)


def hard_tanh() -> Layer:
    """A straight line in place of tanh.

    Forward: ``y = x`` where -1 < x < 1, else -1 or 1. Backward: ``dx = dy`` where -1 < x < 1, else 0.
    Subgradient: 0 at both corners, as in PyTorch; `jax.nn.hard_tanh` has 1. Shapes: any. Cache: the
    comparison, one byte an element. Source: Collobert (2004).

    Raises:
      TypeError: x is of integers.
    """
    return _between("hard_tanh", 1.0, 1.0, 0.0)


def hard_swish() -> Layer:
    """A parabola between two lines in place of silu.

    Forward: ``y = x · (x + 3) / 6`` where -3 < x < 3, else 0 or x. Backward: ``dx = dy · (2 x + 3) / 6``
    where -3 < x < 3, else 0 or dy. Subgradient: 0 at x = -3 and 1 at x = 3. Shapes: any. Cache: x.
    Source: Howard et al. (2019).

    Raises:
      TypeError: x is of integers.
    """

    def value(x: Array) -> Array:
        inner = bounded(x, 3.0)
        return jnp.where(x >= 3, x, inner * (inner + 3) / 6)

    def slope(x: Array) -> Array:
        return jnp.where(x <= -3, 0, jnp.where(x >= 3, 1, x / 3 + 0.5))

    return from_input("hard_swish", Curve(value, slope))


def _between(name: str, bound: float, factor: float, middle: float) -> Layer:
    """``factor · x + middle`` for x between -bound and bound, constant outside."""

    def forward(params: tuple[()], x: Array) -> tuple[Array, MaskCache]:
        del params  # there are none
        check_inexact(x)
        passed = ~((x <= -bound) | (x >= bound))
        return factor * bounded(x, bound) + middle, MaskCache(passed, Static(x.dtype))

    def backward(params: tuple[()], cache: MaskCache, dy: Array) -> tuple[tuple[()], Array]:
        return params, jnp.where(cache.passed, factor * dy.astype(cache.dtype.value), 0)

    return pure(name, forward, backward)
