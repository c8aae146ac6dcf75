"""Average and sum pooling, and the average of a whole image."""

import math
from typing import Any, NamedTuple

import jax.numpy as jnp

from fnn.dtypes import accumulation_dtype, check_inexact
from fnn.layer import Array, Layer, Static, pure
from fnn.layers.pooling_settings import check_positions, pool_name, pool_settings, pool_windows
from fnn.layers.pooling_sums import pixel_counts, spread_sums, window_sums
from fnn.layers.windows import PaddingSetting, Sizes, Windows


class WindowsCache(NamedTuple):
    """Where the windows lie: no array."""

    windows: Static[Windows]
    dtype: Static[Any]  # of x


class ShapeCache(NamedTuple):
    """The shape of x: no array."""

    shape: Static[tuple[int, ...]]
    dtype: Static[Any]  # of x


def average_pool(
    window: int | Sizes,
    *,
    stride: int | Sizes | None = None,
    padding: PaddingSetting = "VALID",
    count_include_pad: bool = False,
) -> Layer:
    """The mean of each window, channel by channel, on one, two or three spatial axes.

    Forward, on two axes: ``y[n, o, q, c] = Σ_{i,j} x[n, o s - p + i, q s - p + j, c] / M[o, q]``, with
    stride s, p pixels of 0 before the first, and M the pixels of the image in the window. Backward: each
    pixel gets ``Σ dy / M`` over the windows that hold it. Sums are taken in float32 at least.

    Shapes: x (N, *spatial, C), y (N, *outputs, C), where ``W' = (W + pads - window) // stride + 1``.
    Cache: nothing but shapes. Source: LeCun, Boser, Denker, Henderson, Howard, Hubbard, Jackel (1990).

    Args:
      window: one int for every axis, or one for each, such as (h, w).
      stride: pixels from one window to the next; that of None is the window.
      padding: "VALID" for none, "SAME" for ceil(size / stride) outputs, an int, or (low, high) for each
        axis; each smaller than the window.
      count_include_pad: whether M counts padding as pixels that are 0, so that it is the same for all
        windows: as in some libraries, where a border is darker than what it is made of.

    Raises:
      TypeError: x is of integers.
      ValueError: a setting is out of range, x is no batch of images, or the window does not fit.
    """
    settings = pool_settings("average_pool", window, stride, padding)

    def counts(windows: Windows, dtype: Any) -> Array:
        held = pixel_counts(windows)
        if count_include_pad or (held == math.prod(windows.window)).all():
            held = held[(slice(0, 1),) * held.ndim] * 0 + math.prod(windows.window)
        return jnp.asarray(held, accumulation_dtype(dtype))

    def forward(params: tuple[()], x: Array) -> tuple[Array, WindowsCache]:
        del params  # there are none
        windows = pool_windows(settings, x)
        sums = window_sums(x, windows)
        y = sums / jnp.broadcast_to(counts(windows, x.dtype), sums.shape)
        return y.astype(x.dtype), WindowsCache(Static(windows), Static(x.dtype))

    def backward(params: tuple[()], cache: WindowsCache, dy: Array) -> tuple[tuple[()], Array]:
        windows, dtype = cache.windows.value, cache.dtype.value
        wide = dy.astype(accumulation_dtype(dtype))
        shares = wide / jnp.broadcast_to(counts(windows, dtype), wide.shape)
        return params, spread_sums(shares, windows).astype(dtype)

    return pure(pool_name(settings), forward, backward)


def sum_pool(
    window: int | Sizes, *, stride: int | Sizes | None = None, padding: PaddingSetting = "VALID"
) -> Layer:
    """The sum of each window, channel by channel, on one, two or three spatial axes.

    Forward, on two axes: ``y[n, o, q, c] = Σ_{i,j} x[n, o s - p + i, q s - p + j, c]``, with stride s and
    p pixels of 0 before the first. Backward: each pixel gets the sum of dy over the windows that hold it.
    Shapes: x (N, *spatial, C), y (N, *outputs, C), and padding as in `average_pool`. Cache: nothing but
    shapes. Source: Boureau, Ponce, LeCun (2010), who compare it with the maximum.

    Raises:
      TypeError: x is of integers.
      ValueError: a setting is out of range, x is no batch of images, or the window does not fit.
    """
    settings = pool_settings("sum_pool", window, stride, padding)

    def forward(params: tuple[()], x: Array) -> tuple[Array, WindowsCache]:
        del params  # there are none
        windows = pool_windows(settings, x)
        cache = WindowsCache(Static(windows), Static(x.dtype))
        return window_sums(x, windows).astype(x.dtype), cache

    def backward(params: tuple[()], cache: WindowsCache, dy: Array) -> tuple[tuple[()], Array]:
        dx = spread_sums(dy.astype(cache.dtype.value), cache.windows.value)
        return params, dx.astype(cache.dtype.value)

    return pure(pool_name(settings), forward, backward)


def global_average_pool() -> Layer:
    """The mean of each channel over all positions.

    Forward: ``y[n, c] = Σ_p x[n, p, c] / P``, with p over the P positions. Backward: each gets dy / P.
    The sum is taken in float32 at least. Shapes: x (N, …, C) with at least one axis of positions, y
    (N, C). Cache: nothing but the shape. Source: Lin, Chen, Yan (2014).

    Raises:
      TypeError: x is of integers.
      ValueError: x has no axis of positions, or no position.
    """

    def forward(params: tuple[()], x: Array) -> tuple[Array, ShapeCache]:
        del params  # there are none
        check_positions("global_average_pool", x)
        check_inexact(x)
        positions = math.prod(x.shape[1:-1])
        y = x.astype(accumulation_dtype(x.dtype)).sum(axis=tuple(range(1, x.ndim - 1))) / positions
        return y.astype(x.dtype), ShapeCache(Static(x.shape), Static(x.dtype))

    def backward(params: tuple[()], cache: ShapeCache, dy: Array) -> tuple[tuple[()], Array]:
        shape, dtype = cache.shape.value, cache.dtype.value
        share = dy.astype(accumulation_dtype(dtype)) / math.prod(shape[1:-1])
        share = share.astype(dtype).reshape(shape[0], *(1,) * (len(shape) - 2), shape[-1])
        return params, jnp.broadcast_to(share, shape)

    return pure("global_average_pool", forward, backward)
