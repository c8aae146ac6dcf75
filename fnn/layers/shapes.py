"""Layers that only change the shape: flatten."""

import math
from typing import Any, NamedTuple

import jax.numpy as jnp

from fnn.layer import Array, Layer, Static, pure


class FlattenCache(NamedTuple):
    """What to go back to; no array."""

    shape: Static[tuple[int, ...]]  # (N, …)
    dtype: Static[Any]  # of x


def flatten() -> Layer:
    """All axes but the first made into one.

    Forward: ``y = x`` with the same numbers in another shape. Backward: ``dx = dy`` in the shape of x;
    None for integers, such as the indices of an embedding. Shapes: x (N, …), y (N, D) with D the
    product of the other axes. Cache: x's shape and dtype, no array.

    Raises:
      ValueError: x has no batch axis.
    """

    def forward(params: tuple[()], x: Array) -> tuple[Array, FlattenCache]:
        del params  # there are none
        if x.ndim < 1:
            raise ValueError(f"flatten: expected x of shape (N, …), got {x.shape}")
        features = math.prod(x.shape[1:])  # not -1, which an empty batch leaves open
        cache = FlattenCache(Static(x.shape), Static(x.dtype))
        return x.reshape(x.shape[0], features), cache

    def backward(
        params: tuple[()], cache: FlattenCache, dy: Array | None
    ) -> tuple[tuple[()], Array | None]:
        dtype = cache.dtype.value
        if dy is None or not jnp.issubdtype(dtype, jnp.inexact):
            return params, None
        return params, dy.reshape(cache.shape.value).astype(dtype)

    return pure("flatten", forward, backward)
