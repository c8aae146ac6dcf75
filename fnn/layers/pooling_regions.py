"""Pooling over regions of unequal length, axis by axis: what adaptive and fractional pooling share.

A region is a run of pixels on one axis. Pixels and regions are both in order, so a region holds the
pixels from its start on, and a pixel lies in the regions from its first on: sums, maxima and their
transposes are a few gathers along the axis, of the first of each region, the second, and so on, and no
scatter. Over several axes the last goes first: a window's rows, and then the best row, which for equal
pixels is the first of the window, row by row.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from fnn.layer import Array

Indices = np.ndarray | Array


class Regions(NamedTuple):
    """The regions on an axis of n pixels; m of them, known when traced, or drawn."""

    start: Indices  # (m,) the first pixel of each
    length: Indices  # (m,) how many pixels it has
    longest: int  # at least every length
    first: Indices  # (n,) the first region that holds a pixel
    held: Indices  # (n,) by how many regions it is held
    most: int  # at least every `held`


def even_regions(size: int, outputs: int) -> Regions:
    """Region o is the pixels from ⌊o n / m⌋ to ⌈(o + 1) n / m⌉ - 1, so that neighbours may share one."""
    o, pixel = np.arange(outputs), np.arange(size)
    start, stop = o * size // outputs, -(-(o + 1) * size // outputs)
    first = (stop[None, :] <= pixel[:, None]).sum(axis=1)
    held = (start[None, :] <= pixel[:, None]).sum(axis=1) - first
    length = stop - start
    return Regions(start, length, int(length.max()), first, held, int(held.max()))


def region_sums(x: Array, axis: int, regions: Regions) -> Array:
    """The sum of every region on one axis of x."""
    return _sums(x, axis, regions.start, regions.length, regions.longest)


def spread_region_sums(dy: Array, axis: int, regions: Regions) -> Array:
    """The transpose of `region_sums`: each pixel gets the sum of dy over the regions that hold it."""
    return _sums(dy, axis, regions.first, regions.held, regions.most)


def region_maxima(x: Array, regions: Sequence[Regions]) -> tuple[Array, tuple[Array, ...]]:
    """x (N, *spatial, C) -> the maximum of every region, and the place taken in it on each axis."""
    places: list[Array] = []
    for axis in range(len(regions), 0, -1):
        x, place = _maxima(x, axis, regions[axis - 1])
        places.insert(0, place)
    return x, tuple(places)


def spread_to_region_places(
    dy: Array, places: tuple[Array, ...], regions: Sequence[Regions]
) -> Array:
    """The transpose of `region_maxima`, with sums in dy's own dtype."""
    for axis, (place, on) in enumerate(zip(places, regions, strict=True), start=1):
        dy = _collected(dy, place, axis, on)
    return dy


def _sums(x: Array, axis: int, start: Indices, length: Indices, longest: int) -> Array:
    def term(i: int) -> Array:
        taken = _take(x, start + _at_most(i, length - 1), axis)
        return jnp.where(_along(i < length, axis, taken), taken, 0)

    return sum((term(i) for i in range(1, longest)), term(0))


def _maxima(x: Array, axis: int, regions: Regions) -> tuple[Array, Array]:
    """Selected, not `jnp.maximum`: autodiff of that gives each of two equals one half."""
    dtype = jnp.uint8 if regions.longest <= 255 else jnp.int32
    y = _take(x, regions.start, axis)
    place = jnp.zeros(y.shape, dtype)
    for i in range(1, regions.longest):  # the last pixel of a shorter region comes again, unseen
        v = _take(x, regions.start + _at_most(i, regions.length - 1), axis)
        larger = (v > y) | (jnp.isnan(v) & ~jnp.isnan(y))
        y = jnp.where(larger, v, y)
        place = jnp.where(larger, jnp.asarray(i, dtype), place)
    return y, place


def _collected(dy: Array, place: Array, axis: int, regions: Regions) -> Array:
    """Every pixel asks each region that holds it whether it was the one."""
    pixel = np.arange(regions.first.shape[0])

    def term(j: int) -> Array:
        region = regions.first + _at_most(j, regions.held - 1)
        offset = pixel - _of(regions.start, region)
        asked = _along(offset, axis, dy_region := _take(dy, region, axis))
        taken = _take(place, region, axis).astype(jnp.int32) == asked.astype(jnp.int32)
        return jnp.where(taken & _along(j < regions.held, axis, dy_region), dy_region, 0)

    return sum((term(j) for j in range(1, regions.most)), term(0))
