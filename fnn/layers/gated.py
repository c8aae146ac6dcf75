"""Gated linear units: one half of the features opens or closes the other.

    x = [a | b]        y = a · g(b)

The linear layer before it has twice the width of y. The gate is the second half, as in `jax.nn.glu` and
in PyTorch's `glu`; which half it is makes no difference to a layer that learns both.
"""

import jax
import jax.numpy as jnp

from fnn.dtypes import check_inexact
from fnn.layer import Array, Layer, pure
from fnn.layers.pointwise import Gate, InputCache, widened
from fnn.layers.smooth import GELU_EXACT, GELU_TANH, SILU


def glu() -> Layer:
    """The gated linear unit, whose gate is a sigmoid.

    Forward, with a and b the halves of x along the last axis: ``y = a · σ(b)``. Backward, with s = σ(b):
    ``da = dy · s`` and ``db = dy · a · s · (1 - s)``. Shapes: x (…, 2 F), y (…, F). Cache: x.
    Source: Dauphin, Fan, Auli, Grangier (2017).

    Raises:
      TypeError: x is of integers.
      ValueError: x has no axis, or an odd number of features.
    """

    def value_and_slope(b: Array) -> tuple[Array, Array]:
        s = jax.lax.logistic(b)
        return s, s * (1 - s)

    return _gated("glu", Gate(jax.lax.logistic, value_and_slope))


def geglu(*, approximate: bool = True) -> Layer:
    """The gated linear unit, whose gate is a gelu.

    Forward, with a and b the halves of x along the last axis: ``y = a · gelu(b)``. Backward:
    ``da = dy · gelu(b)`` and ``db = dy · a · gelu′(b)``; see `gelu` for the two forms. Shapes: x (…, 2
    F), y (…, F). Cache: x. Source: Shazeer (2020).

    Raises:
      TypeError: x is of integers.
      ValueError: x has no axis, or an odd number of features.
    """
    return _gated("geglu", GELU_TANH) if approximate else _gated("geglu(exact)", GELU_EXACT)


def swiglu() -> Layer:
    """The gated linear unit, whose gate is a silu.

    Forward, with a and b the halves of x along the last axis: ``y = a · b · σ(b)``. Backward:
    ``da = dy · silu(b)`` and ``db = dy · a · silu′(b)``. Shapes: x (…, 2 F), y (…, F). Cache: x.
    Source: Shazeer (2020).

    Raises:
      TypeError: x is of integers.
      ValueError: x has no axis, or an odd number of features.
    """
    return _gated("swiglu", SILU)


def _gated(name: str, gate: Gate) -> Layer:
    def halves(x: Array) -> tuple[Array, Array]:
        features = x.shape[-1] // 2
        return widened(x[..., :features]), widened(x[..., features:])

    def forward(params: tuple[()], x: Array) -> tuple[Array, InputCache]:
        del params  # there are none
        if x.ndim < 1 or x.shape[-1] % 2:
            raise ValueError(
                f"{name}: expected x of shape (…, 2 F), an even number of features, got {x.shape}"
            )
        check_inexact(x)
        a, b = halves(x)
        return (a * gate.value(b)).astype(x.dtype), InputCache(x)

    def backward(params: tuple[()], cache: InputCache, dy: Array) -> tuple[tuple[()], Array]:
        a, b = halves(cache.x)
        dy = dy.astype(a.dtype)
        value, slope = gate.value_and_slope(b)
        # Stacked: joined along the features, XLA would first write both halves down; 0.8 of the time.
        dx = jnp.stack([dy * value, dy * (a * slope)], axis=-2).reshape(cache.x.shape)
        return params, dx.astype(cache.x.dtype)

    return pure(name, forward, backward)
