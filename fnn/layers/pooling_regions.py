"""Pooling over regions of unequal length, axis by axis: what adaptive and fractional pooling share.

A region is a run of pixels on one axis; neighbours may share some. Sums, maxima and their transposes are
a few gathers along the axis, of the first pixel of each region, the second, and so on, or of the first
region over each pixel, the second, and so on; none is a scatter. Maxima of a few short regions that are
known are made region by region instead, in a third of the time: XLA:CPU then repeats no comparison.

Over several axes the last goes first: the best of each row and then the best row, which for equal pixels
is the first of the region, row by row.
"""

import functools
from collections.abc import Sequence
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import lax

from fnn.dtypes import accumulation_dtype
from fnn.layer import Array

# Pieces up to which an axis is put together from slices.
_MOST_RUNS = 32

# Pixels compared, over all regions of an axis, up to which each region's maximum is made on its own.
_MOST_COMPARED = 64

Table = np.ndarray | Array  # of int32: known when traced, or drawn


class Holders(NamedTuple):
    """The regions that hold each of the n pixels of an axis: all that a transpose needs."""

    region: Table  # (most, n): the j-th region that holds each pixel, or any
    place: Table  # (most, n): which pixel of that region it is; -1 where it is not held


class Regions(NamedTuple):
    """The regions on an axis; m of them."""

    length: Table  # (m,) pixels of each, at least 1
    pixel: Table  # (longest, m): the i-th pixel of each; the last one again where there is no i-th
    holders: Holders


def even_regions(size: int, outputs: int) -> Regions:
    """Region o holds the pixels from ⌊o n / m⌋ to ⌈(o + 1) n / m⌉ - 1."""
    o, pixel = np.arange(outputs), np.arange(size)
    start, stop = o * size // outputs, -(-(o + 1) * size // outputs)
    first = (stop[None, :] <= pixel[:, None]).sum(axis=1)
    held = (start[None, :] <= pixel[:, None]).sum(axis=1) - first
    length = stop - start
    i, j = np.arange(length.max())[:, None], np.arange(held.max())[:, None]
    region = np.minimum(first + j, outputs - 1)
    place = np.where(j < held, pixel - start[region], -1)
    pixels = start + np.minimum(i, length - 1)
    holders = Holders(region.astype(np.int32), place.astype(np.int32))
    return Regions(length.astype(np.int32), pixels.astype(np.int32), holders)


def region_sums(x: Array, axis: int, regions: Regions) -> Array:
    """The sum of every region on one axis of x."""
    total = _take(x, regions.pixel[0], axis)
    for i in range(1, len(regions.pixel)):
        term = _take(x, regions.pixel[i], axis)
        total = total + jnp.where(_along(i < regions.length, axis, term), term, 0)
    return total


def spread_region_sums(dy: Array, axis: int, holders: Holders) -> Array:
    """The transpose of `region_sums`: each pixel gets the sum of dy over the regions that hold it."""
    total = _take(dy, holders.region[0], axis)
    for region, place in zip(holders.region[1:], holders.place[1:], strict=True):
        term = _take(dy, region, axis)
        total = total + jnp.where(_along(place >= 0, axis, term), term, 0)
    return total


def region_maxima(x: Array, regions: Sequence[Regions]) -> tuple[Array, tuple[Array, ...]]:
    """x (N, *spatial, C) -> the maximum of every region, and which pixel of it on each axis."""
    places: list[Array] = []
    for axis in range(len(regions), 0, -1):
        x, place = _maxima(x, axis, regions[axis - 1])
        places.insert(0, place)
    return x, tuple(places)


def spread_to_region_places(
    dy: Array, places: tuple[Array, ...], holders: Sequence[Holders]
) -> Array:
    """The transpose of `region_maxima`; where regions overlap, sums are taken in float32 at least."""
    dx = dy.astype(accumulation_dtype(dy.dtype))
    for axis, (taken, on) in enumerate(zip(places, holders, strict=True), start=1):
        dx = _collected(dx, taken, axis, on)
    return dx.astype(dy.dtype)


def _maxima(x: Array, axis: int, regions: Regions) -> tuple[Array, Array]:
    """The maximum of each region on an axis, and its place there."""
    length, pixel, _ = regions
    if not isinstance(pixel, np.ndarray) or pixel.size > _MOST_COMPARED:
        return _largest([_take(x, pixels, axis) for pixels in pixel])
    y, place = [], []
    for first, n in zip(pixel[0].tolist(), np.asarray(length).tolist(), strict=True):
        of_region = range(first, first + n)
        values = [lax.slice_in_dim(x, i, i + 1, axis=axis) for i in of_region]
        largest = _largest(values)
        y.append(largest[0])
        place.append(largest[1])
    return lax.concatenate(y, axis), lax.concatenate(place, axis)


def _largest(values: Sequence[Array]) -> tuple[Array, Array]:
    """Selected, not `jnp.maximum`: autodiff of that gives each of two equals one half."""
    dtype = jnp.uint8 if len(values) <= 255 else jnp.int32
    y = values[0]
    place = jnp.zeros(y.shape, dtype)
    for i, v in enumerate(values[1:], start=1):
        larger = (v > y) | (jnp.isnan(v) & ~jnp.isnan(y))
        y = jnp.where(larger, v, y)
        place = jnp.where(larger, jnp.asarray(i, dtype), place)
    return y, place


def _collected(dy: Array, taken: Array, axis: int, holders: Holders) -> Array:
    """Every pixel asks each region that holds it whether it was the one."""
    if isinstance(holders.region, np.ndarray) and len(runs := _held_alike(holders)) <= _MOST_RUNS:
        return lax.concatenate([_of_run(dy, taken, axis, *run) for run in runs], axis)
    terms = []
    for region, place in zip(*holders, strict=True):
        held = _take(dy, region, axis)
        asked = _take(taken, region, axis).astype(jnp.int32) == _along(place, axis, held)
        terms.append(jnp.where(asked, held, 0))
    return functools.reduce(jnp.add, terms)


def _held_alike(holders: Holders) -> list[tuple[int, list[tuple[int, int]]]]:
    """(length, [(region, place of the first pixel), …]) of runs of pixels in the same regions."""
    runs: list[tuple[int, list[tuple[int, int]]]] = []
    for regions, places in zip(*(np.asarray(table).T.tolist() for table in holders), strict=True):
        here = [(r, place) for r, place in zip(regions, places, strict=True) if place >= 0]
        length, first = runs[-1] if runs else (0, [])
        if runs and here == [(r, place + length) for r, place in first]:
            runs[-1] = (length + 1, first)
        else:
            runs.append((1, here))
    return runs


def _of_run(
    dy: Array, taken: Array, axis: int, length: int, held: Sequence[tuple[int, int]]
) -> Array:
    """What the pixels of such a run get."""
    shape = (*dy.shape[:axis], length, *dy.shape[axis + 1 :])
    dx = jnp.zeros(shape, dy.dtype)
    for region, first in held:
        value, place = (
            jnp.broadcast_to(lax.slice_in_dim(a, region, region + 1, axis=axis), shape)
            for a in (dy, taken)
        )
        asked = lax.broadcasted_iota(jnp.int32, shape, axis) + first
        dx = dx + jnp.where(place.astype(jnp.int32) == asked, value, 0)
    return dx


def _take(x: Array, index: Table, axis: int) -> Array:
    """x at these positions of an axis, which are all on it.

    Positions that are known come in few runs, so that slices are joined: a tenth of a gather's time.
    """
    if not isinstance(index, np.ndarray) or len(runs := _runs(index)) > _MOST_RUNS:
        return jnp.take(x, index, axis=axis, mode="clip")
    pieces = []
    for first, length, step in runs:
        piece = lax.slice_in_dim(x, first, first + 1 + step * (length - 1), axis=axis)
        shape = (*x.shape[:axis], length, *x.shape[axis + 1 :])
        pieces.append(jnp.broadcast_to(piece, shape))
    return lax.concatenate(pieces, axis)


def _runs(index: np.ndarray) -> list[tuple[int, int, int]]:
    """(first, length, step) of runs of one position again and again (step 0), or of neighbours (1)."""
    runs = [(int(index[0]), 1, 0)]
    for position in index[1:].tolist():
        first, length, step = runs[-1]
        ahead = position - (first + step * (length - 1))
        if ahead in (0, 1) and (length == 1 or ahead == step):
            runs[-1] = (first, length + 1, ahead)
        else:
            runs.append((position, 1, 0))
    return runs


def _along(values: Table, axis: int, like: Array) -> Array:
    """One value for each position on the axis, as an array like another."""
    shape = [1] * like.ndim
    shape[axis] = -1
    return jnp.broadcast_to(jnp.asarray(values).reshape(shape), like.shape)
