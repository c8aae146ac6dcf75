"""The classic activations, sigmoid and tanh, whose slope is a function of the output."""

import jax
import jax.numpy as jnp

from fnn.layer import Array, Layer
from fnn.layers.pointwise import Curve, from_output


def sigmoid() -> Layer:
    """The logistic function.

    Forward: ``y = 1 / (1 + exp(-x))``. Backward: ``dx = dy · y · (1 - y)``.
    Shapes: any. Cache: y. Source: Rumelhart, Hinton, Williams (1986).

    Raises:
      TypeError: x is of integers.
    """

    def slope(y: Array) -> Array:
        return y * (1 - y)

    return from_output("sigmoid", Curve(jax.lax.logistic, slope))


def tanh() -> Layer:
    """The hyperbolic tangent.

    Forward: ``y = tanh(x)``. Backward: ``dx = dy · (1 + y) · (1 - y)``. Shapes: any. Cache: y.
    Source: LeCun, Bottou, Orr, Müller (1998).

    Raises:
      TypeError: x is of integers.
    """

    def slope(y: Array) -> Array:
        # Not 1 - y², which rounds where |y| is near 1; it also takes a fifth longer than the product.
        return (1 + y) * (1 - y)

    return from_output("tanh", Curve(jnp.tanh, slope))
