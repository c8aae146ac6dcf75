"""Normalization of every example by itself, along its last axis: layer norm and RMS norm."""

from typing import Any, NamedTuple

import jax

from fnn.initializers import Initializer, ones, zeros
from fnn.layer import Array, Key, Layer, pure
from fnn.layers.normalization import (
    Affine,
    NormParams,
    check_eps,
    check_input,
    gradients,
    row_sums,
    scaled,
    shifted,
    wide_dtype,
)


class LayerNormCache(NamedTuple):
    """The input and two numbers a row; the normalized x is computed again from them."""

    x: Array  # (…, C)
    offset: (
        Array  # (N, 1), at least float32: μ less the row's first element; N all axes but the last
    )
    rstd: Array  # (N, 1), 1 / √(σ² + eps)


class RMSNormCache(NamedTuple):
    """The input and one number a row."""

    x: Array  # (…, C)
    rrms: Array  # (N, 1), 1 / √(mean x² + eps), at least float32


def layer_norm(
    *,
    scale: bool = True,
    bias: bool = True,
    eps: float = 1e-5,
    scale_init: Initializer = ones,
    bias_init: Initializer = zeros,
) -> Layer:
    """Normalization of every example, or position of a sequence, over its C features.

    Forward, with sums over the last axis:

        μ = Σ x / C      σ² = Σ (x - μ)² / C      x̂ = (x - μ) / √(σ² + eps)      y = scale · x̂ + bias

    The variance is taken in two passes, and a row's first element is taken away from it before its mean
    is, so that nothing is lost for a mean far from 0. Backward, with g = scale · dy:

        dscale = Σ_n dy · x̂      dbias = Σ_n dy
        dx = 1 / √(σ² + eps) · (g - Σ g / C - x̂ · Σ g x̂ / C)

    Shapes: x (…, C), y (…, C), scale and bias (C,). Parameters take the dtype of x; statistics are
    at least float32. Cache: x, μ - x₁ and 1/√(σ² + eps). There is no state: `predict` is `forward`. With
    C = 1, y = bias. Source: Ba, Kiros, Hinton (2016).

    Raises:
      TypeError: x is of integers.
      ValueError: eps is not above 0; x has no axis, no feature, or another width than the parameters.
    """
    check_eps("layer_norm", eps)
    affine = Affine(scale_init if scale else None, bias_init if bias else None)

    def init(key: Key, x: Array) -> NormParams:
        check_input("layer_norm", (), x, axes=1, form="…")
        return affine.init(key, x)

    def forward(params: NormParams, x: Array) -> tuple[Array, LayerNormCache]:
        check_input("layer_norm", params, x, axes=1, form="…")
        rows = _near_zero(x, wide_dtype(params, x))
        offset = row_sums(rows) / x.shape[-1]
        centred = rows - offset
        rstd = jax.lax.rsqrt(row_sums(centred * centred) / x.shape[-1] + eps)
        y = shifted(scaled(centred * rstd, params), params)
        return y.reshape(x.shape).astype(x.dtype), LayerNormCache(x, offset, rstd)

    def backward(params: NormParams, cache: LayerNormCache, dy: Array) -> tuple[NormParams, Array]:
        x, offset, rstd = cache
        dy = dy.astype(offset.dtype).reshape(-1, x.shape[-1])
        normalized = (_near_zero(x, offset.dtype) - offset) * rstd
        # The product serves two sums, and is the only array of x's size that is written for them.
        product = dy * normalized
        each = None if params.scale is None else params.scale.astype(dy.dtype)
        along_ones = row_sums(dy, each) / x.shape[-1]
        along_normalized = row_sums(product, each) / x.shape[-1]
        dx = (scaled(dy, params) - along_ones - normalized * along_normalized) * rstd
        dparams = gradients(params, product.sum(axis=0), dy.sum(axis=0))
        return dparams, dx.reshape(x.shape).astype(x.dtype)

    return pure("layer_norm", forward, backward, init)


def rms_norm(*, scale: bool = True, eps: float = 1e-6, scale_init: Initializer = ones) -> Layer:
    """Every example, or position of a sequence, divided by the root of its mean square.

    Forward, with sums over the last axis of C features:

        r = 1 / √(Σ x² / C + eps)      x̂ = r x      y = scale · x̂

    Backward, with g = scale · dy: ``dscale = Σ_n dy · x̂``, ``dx = r · (g - x̂ · Σ g x̂ / C)``.
    Shapes: x (…, C), y (…, C), scale (C,). The parameter takes the dtype of x; r is at least float32.
    Cache: x and r. There is no state: `predict` is `forward`. Source: Zhang, Sennrich (2019).

    Raises:
      TypeError: x is of integers.
      ValueError: eps is not above 0; x has no axis, no feature, or another width than the parameter.
    """
    check_eps("rms_norm", eps)
    affine = Affine(scale_init if scale else None, None)

    def init(key: Key, x: Array) -> NormParams:
        check_input("rms_norm", (), x, axes=1, form="…")
        return affine.init(key, x)

    def forward(params: NormParams, x: Array) -> tuple[Array, RMSNormCache]:
        check_input("rms_norm", params, x, axes=1, form="…")
        rows = x.astype(wide_dtype(params, x)).reshape(-1, x.shape[-1])
        rrms = jax.lax.rsqrt(row_sums(rows * rows) / x.shape[-1] + eps)
        y = scaled(rows * rrms, params)
        return y.reshape(x.shape).astype(x.dtype), RMSNormCache(x, rrms)

    def backward(params: NormParams, cache: RMSNormCache, dy: Array) -> tuple[NormParams, Array]:
        x, rrms = cache
        rows = x.astype(rrms.dtype).reshape(-1, x.shape[-1])
        dy = dy.astype(rrms.dtype).reshape(rows.shape)
        normalized = rows * rrms
        product = dy * normalized  # written once for both sums
        each = None if params.scale is None else params.scale.astype(rrms.dtype)
        along_normalized = row_sums(product, each) / x.shape[-1]
        dx = (scaled(dy, params) - normalized * along_normalized) * rrms
        dscale = product.sum(axis=0)
        return gradients(params, dscale, dscale), dx.reshape(x.shape).astype(x.dtype)

    return pure("rms_norm", forward, backward, init)


def _near_zero(x: Array, dtype: Any) -> Array:
    """(…, C) -> (N, C), less each row's first element: exact where the row is far from 0.

    What is taken away cancels in the mean, so that it has no derivative.
    """
    rows = x.astype(dtype).reshape(-1, x.shape[-1])
    return rows - jax.lax.stop_gradient(rows[:, :1])
