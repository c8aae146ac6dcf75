"""Layers that only change the shape: flatten."""

import math
from typing import NamedTuple

from fnn.layer import Array, Layer, Static, pure


class FlattenCache(NamedTuple):
    """The shape to go back to."""

    shape: Static  # (N, …)


def flatten() -> Layer:
    """All axes but the first made into one.

    Forward: ``y = x`` with the same numbers in another shape. Backward: ``dx = dy`` in the shape of x.
    Shapes: x (N, …), y (N, D) with D the product of the other axes. Cache: x's shape, no array.

    Raises:
      ValueError: x has no batch axis.
    """

    def forward(params: tuple[()], x: Array) -> tuple[Array, FlattenCache]:
        del params  # there are none
        if x.ndim < 1:
            raise ValueError(f"flatten: expected x of shape (N, …), got {x.shape}")
        features = math.prod(x.shape[1:])  # not -1, which an empty batch leaves open
        return x.reshape(x.shape[0], features), FlattenCache(Static(x.shape))

    def backward(params: tuple[()], cache: FlattenCache, dy: Array) -> tuple[tuple[()], Array]:
        return params, dy.reshape(cache.shape.value)

    return pure("flatten", forward, backward)
