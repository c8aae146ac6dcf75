"""Pooling to a given size: adaptive average and maximum, and the maximum of a whole image."""

import functools
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from fnn.dtypes import accumulation_dtype, check_inexact, parameter_dtype
from fnn.layer import Array, Layer, Static, pure
from fnn.layers.pooling import spread_to_places, window_maxima
from fnn.layers.pooling_average import ShapeCache
from fnn.layers.pooling_regions import (
    Table,
    even_regions,
    region_maxima,
    region_sums,
    spread_region_sums,
    spread_to_region_places,
)
from fnn.layers.pooling_settings import check_positions
from fnn.layers.pooling_sums import axis_sums, spread_on_axis
from fnn.layers.windows import MOST_AXES, Axis, Sizes, Windows, int_or_sizes, on_axes


class PlacesCache(NamedTuple):
    """Which pixel of each region was taken."""

    places: tuple[Array, ...]  # uint8 for at most 255 pixels, else int32
    shape: Static[tuple[int, ...]]  # of x
    dtype: Static[Any]  # of x


class PositionCache(NamedTuple):
    """Which position of each image was taken, channel by channel."""

    position: Array  # (N, C), int32
    shape: Static[tuple[int, ...]]  # of x
    dtype: Static[Any]  # of x


def adaptive_average_pool(output_size: int | Sizes) -> Layer:
    """The means of so many even regions as the output has pixels, whatever the size of x.

    Forward: region o of m on an axis of n pixels holds those from ⌊o n / m⌋ to ⌈(o + 1) n / m⌉ - 1, so
    that all regions are equal where m divides n, and else some share a pixel; y is the mean of each
    region's product over the axes. Backward: each pixel gets ``Σ dy / length`` over the regions that hold
    it. Sums are taken in float32 at least.

    Shapes: x (N, *spatial, C) with one to three spatial axes, y (N, *output_size, C). Cache: nothing but
    the shape. Source: He, Zhang, Ren, Sun (2014), with the regions' rule of PyTorch.

    Args:
      output_size: one int for every axis, or one for each.

    Raises:
      TypeError: x is of integers.
      ValueError: a size is below 1, or x is no batch of images with the sizes' number of axes.
    """
    sizes = int_or_sizes(output_size, "an output size", "adaptive_average_pool")
    name = _name("adaptive_average_pool", sizes)

    def forward(params: tuple[()], x: Array) -> tuple[Array, ShapeCache]:
        del params  # there are none
        check_inexact(x)
        outputs = _outputs(name, sizes, x)
        y = _means(x, outputs)
        return y, ShapeCache(Static(x.shape), Static(x.dtype))

    def backward(params: tuple[()], cache: ShapeCache, dy: Array) -> tuple[tuple[()], Array]:
        dy = dy.astype(cache.dtype.value)
        return params, _spread_means(dy, cache.shape.value[1:-1])

    return pure(name, forward, backward)


def adaptive_max_pool(output_size: int | Sizes) -> Layer:
    """The maxima of so many even regions as the output has pixels, whatever the size of x.

    Forward: the largest pixel of each region; the regions are those of `adaptive_average_pool`. Backward:
    dy goes to the pixel that was taken, and adds up where regions share it; others get 0.
    Subgradient: of equal pixels the first of the region, row by row, is taken; a NaN is larger than any
    number. Shapes: x (N, *spatial, C) with one to three spatial axes, y (N, *output_size, C). Cache: the
    places of the maxima: where the sizes divide the image's, as in `max_pool`; else axis by axis,
    each over what the axes after it left. A byte each, or four where a window, or a region
    on an axis, has more than 255 pixels. Source: He, Zhang, Ren, Sun (2014).

    Args:
      output_size: one int for every axis, or one for each.

    Raises:
      TypeError: x is not of real floats.
      ValueError: a size is below 1, or x is no batch of images with the sizes' number of axes.
    """
    sizes = int_or_sizes(output_size, "an output size", "adaptive_max_pool")
    name = _name("adaptive_max_pool", sizes)

    def forward(params: tuple[()], x: Array) -> tuple[Array, PlacesCache]:
        del params  # there are none
        parameter_dtype(x)  # what is larger has to be known, and a direction
        image, outputs = x.shape[1:-1], _outputs(name, sizes, x)
        windows = _tiles(image, outputs)
        if windows is not None:
            y, places = window_maxima(x, windows)
        else:
            y, places = _region_maxima(x, outputs)
        return y, PlacesCache(places, Static(x.shape), Static(x.dtype))

    def backward(params: tuple[()], cache: PlacesCache, dy: Array) -> tuple[tuple[()], Array]:
        dy, image = dy.astype(cache.dtype.value), cache.shape.value[1:-1]
        windows = _tiles(image, dy.shape[1:-1])
        if windows is not None:
            return params, spread_to_places(dy, cache.places, windows)
        return params, _spread_to_region_places(dy, cache.places, image)

    return pure(name, forward, backward)


def global_max_pool() -> Layer:
    """The maximum of each channel over all positions.

    Forward: ``y[n, c] = max_p x[n, p, c]``, with p over the positions, row by row. Backward: dy goes to
    the position that was taken. Subgradient: of equal ones the first is taken; a NaN is larger than any
    number. Shapes: x (N, …, C) with at least one axis of positions, y (N, C). Cache: the position of each
    maximum, int32. Source: Oquab, Bottou, Laptev, Sivic (2015).

    Raises:
      TypeError: x is not of real floats.
      ValueError: x has no axis of positions, or no position.
    """

    def forward(params: tuple[()], x: Array) -> tuple[Array, PositionCache]:
        del params  # there are none
        check_positions("global_max_pool", x)
        parameter_dtype(x)  # what is larger has to be known, and a direction
        y, position = _first_maximum(x)
        return y, PositionCache(position, Static(x.shape), Static(x.dtype))

    def backward(params: tuple[()], cache: PositionCache, dy: Array) -> tuple[tuple[()], Array]:
        shape = cache.shape.value
        flat = (shape[0], math.prod(shape[1:-1]), shape[-1])
        here = lax.broadcasted_iota(jnp.int32, flat, 1)
        taken = here == jnp.broadcast_to(cache.position[:, None], flat)
        spread = jnp.broadcast_to(dy.astype(cache.dtype.value)[:, None], flat)
        return params, jnp.where(taken, spread, 0).reshape(shape)

    return pure("global_max_pool", forward, backward)


@jax.jit
def _first_maximum(x: Array) -> tuple[Array, Array]:
    """The maximum over the positions, and the first of them that has it."""
    n, (*higher, width), channels = x.shape[0], x.shape[1:-1], x.shape[-1]
    rows = lax.stop_gradient(x).reshape(n, math.prod(higher), width, channels)
    # The first row that has it, and then its place there: one pass over x, and a few over one row.
    row = _first_largest(rows.max(axis=2))
    best = jnp.take_along_axis(rows, row[:, None, None, :], axis=1, mode="clip")[:, 0]
    position = row * width + _first_largest(best)
    flat = x.reshape(n, math.prod(higher) * width, channels)
    return jnp.take_along_axis(flat, position[:, None], axis=1, mode="clip")[:, 0], position


def _first_largest(x: Array) -> Array:
    """(N, P, C) -> the first p of the largest.

    Twice as fast as `argmax`, which no processor does several of at a time; and only a NaN is not equal
    to itself, so that where it is the largest, it is the one.
    """
    largest = (x == jnp.broadcast_to(x.max(axis=1, keepdims=True), x.shape)) | jnp.isnan(x)
    here = lax.broadcasted_iota(jnp.int32, x.shape, 1)
    return jnp.where(largest, here, x.shape[1]).min(axis=1)


@functools.partial(jax.jit, static_argnames="outputs")
def _means(x: Array, outputs: Sizes) -> Array:
    y = x.astype(accumulation_dtype(x.dtype))
    for axis, (size, m) in enumerate(zip(x.shape[1:-1], outputs, strict=True), start=1):
        if size % m == 0:
            y = axis_sums(y, axis, _tiled(size, m)) / (size // m)
        else:
            regions = even_regions(size, m)
            y = region_sums(y, axis, regions)
            y = y / _lengths(regions.length, axis, y)
    return y.astype(x.dtype)


@functools.partial(jax.jit, static_argnames="image")
def _spread_means(dy: Array, image: Sizes) -> Array:
    dx = dy.astype(accumulation_dtype(dy.dtype))
    for axis, (size, m) in enumerate(zip(image, dy.shape[1:-1], strict=True), start=1):
        if size % m == 0:
            dx = spread_on_axis(dx / (size // m), axis, _tiled(size, m))
        else:
            regions = even_regions(size, m)
            dx = spread_region_sums(dx / _lengths(regions.length, axis, dx), axis, regions.holders)
    return dx.astype(dy.dtype)


@functools.partial(jax.jit, static_argnames="outputs")
def _region_maxima(x: Array, outputs: Sizes) -> tuple[Array, tuple[Array, ...]]:
    image = x.shape[1:-1]
    return region_maxima(x, [even_regions(n, m) for n, m in zip(image, outputs, strict=True)])


@functools.partial(jax.jit, static_argnames="image")
def _spread_to_region_places(dy: Array, places: tuple[Array, ...], image: Sizes) -> Array:
    outputs = dy.shape[1:-1]
    holders = [even_regions(n, m).holders for n, m in zip(image, outputs, strict=True)]
    return spread_to_region_places(dy, places, holders)


def _tiled(size: int, outputs: int) -> Axis:
    """The windows that are the regions of an axis whose size they divide."""
    return Axis(size, size // outputs, size // outputs, 1, (0, 0), outputs)


def _tiles(image: Sequence[int], outputs: Sizes) -> Windows | None:
    """The same for all axes; None if there is one that they do not divide."""
    if any(n % m for n, m in zip(image, outputs, strict=True)):
        return None
    axes = [_tiled(n, m) for n, m in zip(image, outputs, strict=True)]
    return Windows(*zip(*axes, strict=True))


def _lengths(lengths: Table, axis: int, like: Array) -> Array:
    shape = [1] * like.ndim
    shape[axis] = -1
    return jnp.broadcast_to(jnp.asarray(lengths, like.dtype).reshape(shape), like.shape)


def _outputs(name: str, sizes: int | Sizes, x: Array) -> Sizes:
    """An output size for each spatial axis of x.

    Raises:
      ValueError: x is no batch of images with as many axes.
    """
    rank = len(sizes) if isinstance(sizes, tuple) else x.ndim - 2
    if not 1 <= rank <= MOST_AXES or x.ndim != rank + 2 or 0 in x.shape[1:]:
        axes = rank if isinstance(sizes, tuple) else f"one to {MOST_AXES}"
        raise ValueError(
            f"{name}: expected x of shape (N, *spatial, C) with {axes} spatial axes and a pixel on "
            f"each, got {x.shape}"
        )
    return on_axes(sizes, rank)


def _name(layer: str, sizes: int | Sizes) -> str:
    return f"{layer}({sizes if isinstance(sizes, int) else 'x'.join(map(str, sizes))})"
