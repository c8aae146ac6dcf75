"""Batch normalization."""

from typing import NamedTuple

import jax

from fnn.dtypes import accumulation_dtype, check_inexact, parameter_dtype
from fnn.initializers import Initializer, ones, zeros
from fnn.layer import Array, Key, Layer, as_arrays
from fnn.random import child_key


class BatchNormParams(NamedTuple):
    """The scale and bias that every channel gets back; C channels."""

    scale: Array  # (C,)
    bias: Array  # (C,)


class BatchNormState(NamedTuple):
    """Running statistics for inference, at least float32."""

    mean: Array  # (C,)
    var: Array  # (C,)


class BatchNormCache(NamedTuple):
    """The input and the batch's statistics; the normalized x is computed again from them."""

    x: Array  # (N, …, C)
    mean: Array  # (1, …, 1, C), at least float32
    rstd: Array  # (1, …, 1, C), 1 / √(var + eps)


def batch_norm(
    *,
    momentum: float = 0.9,
    eps: float = 1e-5,
    scale_init: Initializer = ones,
    bias_init: Initializer = zeros,
) -> Layer:
    """Normalization of every channel over the batch (and over the positions of an image).

    Forward, with sums over all axes but the last and M elements in each:

        μ = Σ x / M      σ² = Σ (x - μ)² / M      x̂ = (x - μ) / √(σ² + eps)      y = scale · x̂ + bias

    The variance is taken in two passes: E[x²] - μ² would cancel for a mean far from 0. The running
    statistics are ``momentum · running + (1 - momentum) · batch``, with the variance divided by M (the
    biased one); they start at 0 and 1, and `predict` uses them in place of the batch's.
    Backward, through μ and σ² as well:

        dbias = Σ dy      dscale = Σ dy · x̂
        dx = scale / √(σ² + eps) · (dy - dbias / M - x̂ · dscale / M)

    Shapes: x (N, …, C): (N, C) for dense layers, (N, H, W, C) for images. Parameters take the dtype of
    x; statistics are at least float32. Cache: x, μ and 1/√(σ² + eps). With M = 1, y = bias.
    Source: Ioffe, Szegedy (2015).

    Raises:
      TypeError: x is of integers.
      ValueError: momentum is not in [0, 1) or eps not above 0; x has fewer than two axes,
        no element to take a mean of, or another C than the parameters.
    """
    if not 0 <= momentum < 1:
        raise ValueError(f"batch_norm: expected 0 <= momentum < 1, got {momentum}")
    if not eps > 0:
        raise ValueError(
            f"batch_norm: expected eps > 0, without which a constant channel is 0 / 0, got {eps}"
        )

    def init(key: Key, x: Array) -> tuple[BatchNormParams, BatchNormState]:
        if x.ndim < 2:
            raise ValueError(f"batch_norm: expected x of shape (N, …, C), got {x.shape}")
        dtype, shape = parameter_dtype(x), x.shape[-1:]
        wide = accumulation_dtype(dtype)
        params = BatchNormParams(
            scale_init(child_key(key, "scale"), shape, dtype),
            bias_init(child_key(key, "bias"), shape, dtype),
        )
        return params, BatchNormState(zeros(None, shape, wide), ones(None, shape, wide))

    def forward(
        params: BatchNormParams, state: BatchNormState, x: Array, key: Key
    ) -> tuple[Array, BatchNormState, BatchNormCache]:
        del key  # nothing is drawn
        x = as_arrays(x)
        _check(params, x)
        if x.size == 0:
            raise ValueError(f"batch_norm: expected elements to take a mean of, got x {x.shape}")
        wide, axes, size = x.astype(accumulation_dtype(x.dtype)), _all_but_last(x), _count(x)
        mean = wide.sum(axis=axes, keepdims=True) / size
        centred = wide - mean
        var = (centred * centred).sum(axis=axes, keepdims=True) / size
        rstd = jax.lax.rsqrt(var + eps)
        y = centred * (rstd * _as(params.scale, mean)) + _as(params.bias, mean)
        running = jax.tree.map(
            lambda old, new: momentum * old + (1 - momentum) * new.reshape(-1).astype(old.dtype),
            state,
            BatchNormState(mean, var),
        )
        return y.astype(x.dtype), running, BatchNormCache(x, mean, rstd)

    def backward(
        params: BatchNormParams, cache: BatchNormCache, dy: Array
    ) -> tuple[BatchNormParams, Array]:
        x, mean, rstd = cache
        axes, size = _all_but_last(x), _count(x)
        wide_dy = as_arrays(dy).astype(mean.dtype)
        # x̂ = centred · rstd, with the factor taken out of the sum and of the elements: a tenth faster.
        centred = x.astype(mean.dtype) - mean
        dbias = wide_dy.sum(axis=axes, keepdims=True)
        dscale = (wide_dy * centred).sum(axis=axes, keepdims=True) * rstd
        factor, slope = _as(params.scale, mean) * rstd, dscale * rstd / size
        dx = factor * (wide_dy - dbias / size - centred * slope)
        dparams = BatchNormParams(
            dscale.reshape(-1).astype(params.scale.dtype),
            dbias.reshape(-1).astype(params.bias.dtype),
        )
        return dparams, dx.astype(x.dtype)

    def predict(params: BatchNormParams, state: BatchNormState, x: Array) -> Array:
        x = as_arrays(x)
        _check(params, x)
        shape = (1,) * (x.ndim - 1) + (-1,)
        mean, var = state.mean.reshape(shape), state.var.reshape(shape)
        factor = jax.lax.rsqrt(var + eps) * _as(params.scale, mean)
        y = (x.astype(mean.dtype) - mean) * factor + _as(params.bias, mean)
        return y.astype(x.dtype)

    return Layer("batch_norm", init, forward, backward, predict)


def _check(params: BatchNormParams, x: Array) -> None:
    channels = params.scale.shape[0]
    if x.ndim < 2 or x.shape[-1] != channels:
        raise ValueError(f"batch_norm: expected x of shape (N, …, {channels}), got {x.shape}")
    check_inexact(x)


def _all_but_last(x: Array) -> tuple[int, ...]:
    return tuple(range(x.ndim - 1))


def _count(x: Array) -> int:
    return x.size // x.shape[-1]


def _as(parameter: Array, like: Array) -> Array:
    """A parameter (C,) in the shape and dtype of the statistics (1, …, 1, C)."""
    return parameter.reshape(like.shape).astype(like.dtype)
