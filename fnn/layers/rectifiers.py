"""Activations that let a positive number pass: relu and those that keep a slope below 0.

At x = 0 all of them have the slope of the left side. A NaN stays a NaN.
"""

import math
from typing import NamedTuple

import jax.numpy as jnp

from fnn.dtypes import accumulation_dtype, check_inexact, computing_dtype, parameter_dtype
from fnn.layer import Array, Key, Layer, Static, pure
from fnn.layers.pointwise import Curve, InputCache, MaskCache, from_output

# Klambauer et al. (2017): with these, activations of mean 0 and variance 1 stay so.
_SELU_ALPHA = 1.6732632423543772
_SELU_SCALE = 1.0507009873554805


class PReluParams(NamedTuple):
    """What a prelu learns."""

    slope: Array  # (), or (C,) if there is one a channel


def relu() -> Layer:
    """The rectifier.

    Forward: ``y = x`` where x > 0, else 0; a NaN stays one. Backward: ``dx = dy`` where x > 0, else 0.
    Subgradient: 0 at x = 0, as `jax.nn.relu`. Shapes: any. Cache: the comparison, one byte an
    element; eight of them packed into a byte make the gradient of a convolutional network 2.5 times
    slower on a CPU. Source: Nair, Hinton (2010).

    Raises:
      TypeError: x is of integers.
    """

    def forward(params: tuple[()], x: Array) -> tuple[Array, MaskCache]:
        del params  # there are none
        check_inexact(x)
        passed = ~(x <= 0)  # so written that a NaN passes, instead of turning into a healthy 0
        return jnp.where(passed, x, 0), MaskCache(passed, Static(x.dtype))

    def backward(params: tuple[()], cache: MaskCache, dy: Array) -> tuple[tuple[()], Array]:
        return params, jnp.where(cache.passed, dy.astype(cache.dtype.value), 0)

    return pure("relu", forward, backward)


def relu6() -> Layer:
    """The rectifier that ends at 6.

    Forward: ``y = min(max(x, 0), 6)``. Backward: ``dx = dy`` where 0 < x < 6, else 0.
    Subgradient: 0 at both ends, as `jax.nn.relu6`. Shapes: any. Cache: the comparison, one byte an
    element. Source: Krizhevsky (2010).

    Raises:
      TypeError: x is of integers.
    """

    def forward(params: tuple[()], x: Array) -> tuple[Array, MaskCache]:
        del params  # there are none
        check_inexact(x)
        passed = ~((x <= 0) | (x >= 6))
        y = jnp.where(passed, x, jnp.where(x <= 0, 0, 6).astype(x.dtype))
        return y, MaskCache(passed, Static(x.dtype))

    def backward(params: tuple[()], cache: MaskCache, dy: Array) -> tuple[tuple[()], Array]:
        return params, jnp.where(cache.passed, dy.astype(cache.dtype.value), 0)

    return pure("relu6", forward, backward)


def leaky_relu(slope: float = 0.01) -> Layer:
    """The rectifier with a small slope below 0, so that no unit dies.

    Forward: ``y = x`` where x > 0, else ``slope · x``. Backward: ``dx = dy`` where x > 0, else
    ``slope · dy``. Subgradient: the slope at x = 0, as in PyTorch; `jax.nn.leaky_relu` has 1. Shapes:
    any. Cache: the comparison, one byte an element. Source: Maas, Hannun, Ng (2013).

    Raises:
      TypeError: x is of integers.
      ValueError: the slope is 0, which `relu` has, or not finite.
    """
    if not math.isfinite(slope) or slope == 0:
        raise ValueError(
            f"leaky_relu: expected a finite slope other than 0, got {slope}; relu() has the slope 0"
        )

    def forward(params: tuple[()], x: Array) -> tuple[Array, MaskCache]:
        del params  # there are none
        check_inexact(x)
        passed = x > 0
        return jnp.where(passed, x, slope * x), MaskCache(passed, Static(x.dtype))

    def backward(params: tuple[()], cache: MaskCache, dy: Array) -> tuple[tuple[()], Array]:
        dtype = cache.dtype.value
        return params, dy.astype(dtype) * jnp.where(cache.passed, 1, slope).astype(dtype)

    return pure(f"leaky_relu({slope})", forward, backward)


def prelu(*, per_channel: bool = False, slope: float = 0.25) -> Layer:
    """The rectifier whose slope below 0 is learned.

    Forward, with a the slope: ``y = x`` where x > 0, else ``a · x``. Backward:

        dx = dy where x > 0, else a · dy        da = Σ dy · min(x, 0)

    where the sum is over all elements, or over those of a channel. Subgradient: a at x = 0. Shapes: x
    (…, C) with C channels, or any if there is one slope for all; a (C,) or (). It takes the dtype of x
    and starts at `slope`; it should not decay, which would turn it to a relu. Cache: x. Source: He,
    Zhang, Ren, Sun (2015).

    Raises:
      TypeError: x is of integers.
      ValueError: the first slope is not finite; x has no axis of channels, or another number of them
        than the parameters were made for.
    """
    if not math.isfinite(slope):
        raise ValueError(f"prelu: expected a finite slope to start with, got {slope}")

    def init(key: Key, x: Array) -> PReluParams:
        del key  # nothing is drawn
        if per_channel and x.ndim < 1:
            raise ValueError(f"prelu: expected x of shape (…, channels), got {x.shape}")
        shape = x.shape[-1:] if per_channel else ()
        return PReluParams(jnp.full(shape, slope, parameter_dtype(x)))

    def forward(params: PReluParams, x: Array) -> tuple[Array, InputCache]:
        a = params.slope
        if x.shape[x.ndim - a.ndim :] != a.shape:
            raise ValueError(f"prelu: expected x of shape (…, {a.shape[0]}), got {x.shape}")
        check_inexact(x)
        dtype = computing_dtype(x, a)
        wide = x.astype(dtype)
        # Zero where it does not count, or autodiff would meet 0 · ∞ there.
        below = jnp.where(wide > 0, 0, wide)
        y = jnp.where(wide > 0, wide, _over(a, below) * below)
        return y.astype(x.dtype), InputCache(x)

    def backward(params: PReluParams, cache: InputCache, dy: Array) -> tuple[PReluParams, Array]:
        x, a = cache.x, params.slope
        wide = x.astype(accumulation_dtype(computing_dtype(x, a)))
        dy = dy.astype(wide.dtype)
        dx = jnp.where(wide > 0, dy, _over(a, wide) * dy)
        da = jnp.where(wide > 0, 0, wide * dy).sum(axis=tuple(range(x.ndim - a.ndim)))
        return PReluParams(da.astype(a.dtype)), dx.astype(x.dtype)

    return pure("prelu", forward, backward, init)


def elu(alpha: float = 1.0) -> Layer:
    """The exponential linear unit.

    Forward: ``y = x`` where x > 0, else ``α · (exp(x) - 1)``. Backward, from the output: ``dx = dy``
    where y > 0, else ``dy · (y + α)``. Subgradient: α at x = 0, as `jax.nn.elu`. Shapes: any. Cache: y.
    Source: Clevert, Unterthiner, Hochreiter (2015).

    Raises:
      TypeError: x is of integers.
      ValueError: α is not positive and finite, so that x's sign could not be told from y's.
    """
    return from_output(f"elu({alpha})", _exponential("elu", 1.0, alpha, 1.0))


def selu() -> Layer:
    """The self-normalizing exponential unit.

    Forward: ``y = λ · x`` where x > 0, else ``λ · α · (exp(x) - 1)``, with λ = 1.0507… and α = 1.6732….
    Backward, from the output: ``dx = λ · dy`` where y > 0, else ``dy · (y + λ · α)``. Subgradient: λ · α
    at x = 0, as `jax.nn.selu`. Shapes: any. Cache: y.
    Source: Klambauer, Unterthiner, Mayr, Hochreiter (2017).

    Raises:
      TypeError: x is of integers.
    """
    return from_output("selu", _exponential("selu", _SELU_SCALE, _SELU_ALPHA, 1.0))


def celu(alpha: float = 1.0) -> Layer:
    """The exponential unit whose slope is continuous for every α.

    Forward: ``y = x`` where x > 0, else ``α · (exp(x / α) - 1)``. Backward, from the output: ``dx = dy``
    where y > 0, else ``dy · (y / α + 1)``; at x = 0 both are dy. Shapes: any. Cache: y.
    Source: Barron (2017).

    Raises:
      TypeError: x is of integers.
      ValueError: α is not positive and finite.
    """
    return from_output(f"celu({alpha})", _exponential("celu", 1.0, alpha, alpha))


def _exponential(name: str, scale: float, alpha: float, width: float) -> Curve:
    """``scale · x`` where x > 0, else ``scale · alpha · (exp(x / width) - 1)``."""
    if not 0 < alpha < math.inf:
        raise ValueError(f"{name}: expected a positive and finite alpha, got {alpha}")

    def value(x: Array) -> Array:
        # Zero where it does not count, or autodiff would meet 0 · ∞ there.
        below = jnp.where(x > 0, 0, x) / width
        return jnp.where(x > 0, scale * x, (scale * alpha) * jnp.expm1(below))

    def slope(y: Array) -> Array:
        return jnp.where(y > 0, scale, (y + scale * alpha) / width)

    return Curve(value, slope)


def _over(slope: Array, x: Array) -> Array:
    """The slope in the dtype of x, and of its shape, as strict promotion wants it."""
    return jnp.broadcast_to(slope.astype(x.dtype), x.shape)
