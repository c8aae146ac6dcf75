"""The linear layer, y = x w + b, and a bias alone."""

from typing import Any, NamedTuple

import jax.numpy as jnp

from fnn.dtypes import accumulation_dtype, check_inexact, computing_dtype, parameter_dtype
from fnn.initializers import Initializer, he_normal, zeros
from fnn.layer import Array, Key, Layer, Static, pure
from fnn.random import child_key


class LinearParams(NamedTuple):
    """What a linear layer learns; D inputs, F outputs."""

    w: Array  # (D, F)
    b: Array | None  # (F,), None without a bias


class LinearCache(NamedTuple):
    """What backward needs: the input, which the layer before usually holds anyway."""

    x: Array  # (…, D)


class BiasParams(NamedTuple):
    """What a bias learns."""

    b: Array  # (C,)


class BiasCache(NamedTuple):
    """What dx is to look like; no array."""

    dtype: Static[Any]  # of x


def linear(
    features: int,
    *,
    bias: bool = True,
    kernel_init: Initializer = he_normal,
    bias_init: Initializer = zeros,
) -> Layer:
    """A linear map of the last axis, with a bias.

    Forward: ``y = x w + b``. Backward, with N all axes of x but the last taken as one:

        dx = dy wᵀ      dw = Σ_n x_n dy_nᵀ = xᵀ dy      db = Σ_n dy_n

    Shapes: x (…, D), w (D, features), b (features,), y (…, features). The parameters take the dtype
    of x. Cache: x. Source: Rumelhart, Hinton, Williams (1986).

    Raises:
      TypeError: x is of integers.
      ValueError: x has no axis, no feature, or another width than the parameters were made for.
    """
    if features < 1:
        raise ValueError(f"linear: expected at least one feature, got {features}")

    def init(key: Key, x: Array) -> LinearParams:
        if x.ndim < 1 or x.shape[-1] < 1:
            raise ValueError(
                f"linear: expected x of shape (…, features) with a feature at least, got {x.shape}"
            )
        dtype = parameter_dtype(x)
        w = kernel_init(child_key(key, "w"), (x.shape[-1], features), dtype)
        return LinearParams(w, bias_init(child_key(key, "b"), (features,), dtype) if bias else None)

    def forward(params: LinearParams, x: Array) -> tuple[Array, LinearCache]:
        inputs = params.w.shape[0]
        if x.ndim < 1 or x.shape[-1] != inputs:
            raise ValueError(f"linear: expected x of shape (…, {inputs}), got {x.shape}")
        check_inexact(x)
        dtype = computing_dtype(x, *params)
        y = x.astype(dtype) @ params.w.astype(dtype)
        if params.b is not None:
            y = y + jnp.broadcast_to(params.b.astype(dtype), y.shape)
        return y.astype(x.dtype), LinearCache(x)

    def backward(params: LinearParams, cache: LinearCache, dy: Array) -> tuple[LinearParams, Array]:
        x, (w, b) = cache.x, params
        dtype = computing_dtype(x, w, b)
        dy = dy.astype(dtype)
        dy_rows = dy.reshape(-1, dy.shape[-1])
        dw = x.astype(dtype).reshape(-1, x.shape[-1]).T @ dy_rows
        db = None if b is None else dy_rows.sum(axis=0).astype(b.dtype)
        dx = dy @ w.astype(dtype).T
        return LinearParams(dw.astype(w.dtype), db), dx.astype(x.dtype)

    return pure(f"linear({features})", forward, backward, init)


def bias(*, bias_init: Initializer = zeros) -> Layer:
    """A number added to each channel.

    Forward: ``y = x + b``. Backward: ``dx = dy`` and ``db = Σ dy`` over all axes but the last. Shapes: x
    (…, C), b (C,), y (…, C). The parameter takes the dtype of x; its gradient is summed in float32 at
    least. Cache: x's dtype, no array. Source: Rumelhart, Hinton, Williams (1986).

    Raises:
      TypeError: x is of integers.
      ValueError: x has no axis, or another width than the parameter was made for.
    """

    def init(key: Key, x: Array) -> BiasParams:
        if x.ndim < 1:
            raise ValueError(f"bias: expected x of shape (…, channels), got {x.shape}")
        return BiasParams(bias_init(child_key(key, "b"), x.shape[-1:], parameter_dtype(x)))

    def forward(params: BiasParams, x: Array) -> tuple[Array, BiasCache]:
        channels = params.b.shape[0]
        if x.ndim < 1 or x.shape[-1] != channels:
            raise ValueError(f"bias: expected x of shape (…, {channels}), got {x.shape}")
        check_inexact(x)
        dtype = computing_dtype(x, params.b)
        y = x.astype(dtype) + jnp.broadcast_to(params.b.astype(dtype), x.shape)
        return y.astype(x.dtype), BiasCache(Static(x.dtype))

    def backward(params: BiasParams, cache: BiasCache, dy: Array) -> tuple[BiasParams, Array]:
        dx = dy.astype(cache.dtype.value)
        wide = dy.astype(accumulation_dtype(computing_dtype(dx, params.b)))
        db = wide.sum(axis=tuple(range(dy.ndim - 1)))
        return BiasParams(db.astype(params.b.dtype)), dx

    return pure("bias", forward, backward, init)
