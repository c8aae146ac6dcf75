"""The maxout unit: the largest of several linear maps."""

from typing import NamedTuple

import jax.numpy as jnp

from fnn.dtypes import accumulation_dtype, check_inexact, computing_dtype, parameter_dtype
from fnn.initializers import Initializer, he_normal, zeros
from fnn.layer import Array, Key, Layer, pure
from fnn.random import child_key


class MaxoutParams(NamedTuple):
    """What a maxout layer learns; D inputs, K pieces, F outputs."""

    w: Array  # (D, K, F)
    b: Array  # (K, F)


class MaxoutCache(NamedTuple):
    """The input, and which piece was the largest; the values of the pieces are not kept."""

    x: Array  # (…, D)
    piece: Array  # (…, F), uint8, or int32 for more than 256 pieces


def maxout(
    features: int,
    pieces: int = 2,
    *,
    kernel_init: Initializer = he_normal,
    bias_init: Initializer = zeros,
) -> Layer:
    """The largest of K linear maps, for each feature: a convex function whose shape is learned.

    Forward, with ``z_k = x w_k + b_k`` for each piece k: ``y = max_k z_k``; a NaN is larger than every
    number. Backward, with ``dz_k = dy`` where piece k is the largest, else 0:

        dx = Σ_k dz_k w_kᵀ        dw_k = xᵀ dz_k        db_k = Σ_n dz_k

    Subgradient: of equal pieces the first gets dy. Shapes: x (…, D), w (D, K, F), b (K, F), y (…, F)
    with F = `features` and K = `pieces`. The parameters take the dtype of x. Cache: x, and which piece
    it was, one byte an output. Source: Goodfellow, Warde-Farley, Mirza, Courville, Bengio (2013).

    Raises:
      TypeError: x is of integers.
      ValueError: features or pieces below 1; x has no axis, no feature, or another width than the
        parameters were made for.
    """
    if features < 1 or pieces < 1:
        raise ValueError(
            f"maxout: expected at least one feature and one piece, got {features} and {pieces}"
        )

    def init(key: Key, x: Array) -> MaxoutParams:
        if x.ndim < 1 or x.shape[-1] < 1:
            raise ValueError(
                f"maxout: expected x of shape (…, features) with a feature at least, got {x.shape}"
            )
        dtype, inputs = parameter_dtype(x), x.shape[-1]
        w = kernel_init(child_key(key, "w"), (inputs, pieces * features), dtype)
        b = bias_init(child_key(key, "b"), (pieces * features,), dtype)
        return MaxoutParams(w.reshape(inputs, pieces, features), b.reshape(pieces, features))

    def forward(params: MaxoutParams, x: Array) -> tuple[Array, MaxoutCache]:
        inputs = params.w.shape[0]
        if x.ndim < 1 or x.shape[-1] != inputs:
            raise ValueError(f"maxout: expected x of shape (…, {inputs}), got {x.shape}")
        check_inexact(x)
        dtype = computing_dtype(x, *params)
        z = x.astype(dtype) @ params.w.astype(dtype).reshape(inputs, pieces * features)
        z = z + jnp.broadcast_to(params.b.astype(dtype).reshape(-1), z.shape)
        z = z.reshape(*x.shape[:-1], pieces, features)
        y, piece = z[..., 0, :], jnp.zeros((*x.shape[:-1], features), _piece_dtype(pieces))
        for k in range(1, pieces):
            # Selected, not `jnp.maximum`: autodiff of that gives each of two equals one half.
            larger = (z[..., k, :] > y) | jnp.isnan(z[..., k, :])
            y = jnp.where(larger, z[..., k, :], y)
            piece = jnp.where(larger, jnp.asarray(k, piece.dtype), piece)
        return y.astype(x.dtype), MaxoutCache(x, piece)

    def backward(params: MaxoutParams, cache: MaxoutCache, dy: Array) -> tuple[MaxoutParams, Array]:
        (x, piece), (w, b) = cache, params
        dtype, inputs = computing_dtype(x, w, b), w.shape[0]
        dy = dy.astype(dtype)
        # One comparison a piece: all at once, against a broadcast number, takes as long as the products.
        each = [jnp.where(piece == k, dy, 0) for k in range(pieces)]
        dz = jnp.stack(each, axis=-2).reshape(-1, pieces * features)
        dw = x.astype(dtype).reshape(-1, inputs).T @ dz
        db = dz.astype(accumulation_dtype(dtype)).sum(axis=0)
        dx = (dz @ w.astype(dtype).reshape(inputs, -1).T).reshape(x.shape)
        dparams = MaxoutParams(
            dw.reshape(w.shape).astype(w.dtype), db.reshape(b.shape).astype(b.dtype)
        )
        return dparams, dx.astype(x.dtype)

    return pure(f"maxout({features}, {pieces})", forward, backward, init)


def _piece_dtype(pieces: int) -> type:
    return jnp.uint8 if pieces <= 256 else jnp.int32
