"""Layers that only change the shape: identity, flatten, reshape.

They hand integers on, such as the indices of an embedding, for which dx is None.
"""

import math
from typing import Any, NamedTuple

import jax.numpy as jnp

from fnn.layer import Array, Layer, Static, pure


class ShapeCache(NamedTuple):
    """What to go back to; no array."""

    shape: Static[tuple[int, ...]]  # of x
    dtype: Static[Any]  # of x


def identity() -> Layer:
    """The input as it is.

    Forward: ``y = x``. Backward: ``dx = dy``; None for integers. Shapes: any. Cache: x's shape and dtype,
    no array.

    Raises:
      TypeError: x is no array.
    """

    def forward(params: tuple[()], x: Array) -> tuple[Array, ShapeCache]:
        del params  # there are none
        _check_array("identity", x)
        return x, ShapeCache(Static(x.shape), Static(x.dtype))

    return pure("identity", forward, _back)


def flatten() -> Layer:
    """All axes but the first made into one.

    Forward: ``y = x`` with the same numbers in another shape. Backward: ``dx = dy`` in the shape of x;
    None for integers. Shapes: x (N, …), y (N, D) with D the product of the other axes. Cache: x's shape
    and dtype, no array.

    Raises:
      TypeError: x is no array.
      ValueError: x has no batch axis.
    """

    def forward(params: tuple[()], x: Array) -> tuple[Array, ShapeCache]:
        del params  # there are none
        _check_array("flatten", x)
        if x.ndim < 1:
            raise ValueError(f"flatten: expected x of shape (N, …), got {x.shape}")
        features = math.prod(x.shape[1:])  # not -1, which an empty batch leaves open
        y = x.reshape(x.shape[0], features)
        return y, ShapeCache(Static(x.shape), Static(x.dtype))

    return pure("flatten", forward, _back)


def reshape(*shape: int) -> Layer:
    """All axes but the first in another shape; one length may be -1, which is what is left.

    Forward: ``y = x`` with the same numbers in another shape. Backward: ``dx = dy`` in the shape of x;
    None for integers. Shapes: x (N, …), y (N, and the lengths given), of as many elements. Cache: x's
    shape and dtype, no array.

    Raises:
      TypeError: x is no array.
      ValueError: a length below -1, or more than one -1; x has no batch axis, or examples of another
        size.
    """
    if any(length < -1 for length in shape) or shape.count(-1) > 1:
        raise ValueError(f"reshape: expected lengths, one of them -1 at most, got {shape}")
    known = math.prod(length for length in shape if length != -1)

    def forward(params: tuple[()], x: Array) -> tuple[Array, ShapeCache]:
        del params  # there are none
        _check_array("reshape", x)
        features = math.prod(x.shape[1:])
        fits = features % max(known, 1) == 0 if -1 in shape else features == known
        if x.ndim < 1 or not fits:
            raise ValueError(
                f"reshape: expected x of shape (N, …) whose examples fit into {shape}, got {x.shape}"
            )
        # -1 by hand: an empty batch would leave it open.
        lengths = [features // max(known, 1) if length == -1 else length for length in shape]
        y = x.reshape(x.shape[0], *lengths)
        return y, ShapeCache(Static(x.shape), Static(x.dtype))

    return pure(f"reshape{shape}", forward, _back)


def _check_array(name: str, x: Any) -> None:
    """Refuse a tree, whose leaves would each have a shape of its own."""
    if not hasattr(x, "shape"):
        raise TypeError(f"{name}: expected x to be an array, got {type(x).__name__}")


def _back(params: tuple[()], cache: ShapeCache, dy: Array | None) -> tuple[tuple[()], Array | None]:
    dtype = cache.dtype.value
    if dy is None or not jnp.issubdtype(dtype, jnp.inexact):
        return params, None
    return params, dy.reshape(cache.shape.value).astype(dtype)
