"""What one pass adds to what is known of the layers: sums that combine, of all layers side by side."""

from collections import defaultdict
from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from fnn.diagnostics.passes import Seen, each_block, over_blocks
from fnn.diagnostics.saturation import is_bounded, saturated
from fnn.diagnostics.spectrum import Scatter, merged_scatter, scatter
from fnn.diagnostics.statistics import (
    Columns,
    Moments,
    Statistics,
    columns,
    empty,
    gathered,
    is_floating,
    merged,
    merged_moments,
)
from fnn.dtypes import accumulation_dtype, computing_dtype
from fnn.layer import Array, PyTree, Static

_F32 = jax.ShapeDtypeStruct((), jnp.float32)
# What these set to 0 is drawn: a unit of theirs is not dead if that was all of it.
_DRAWN = ("dropout", "spatial_dropout", "gaussian_dropout", "alpha_dropout", "gaussian_noise")


class LayerRow(NamedTuple):
    """What is known of a layer before any pass. L in the arrays counts these rows."""

    path: str  # blocks/block[*]/mlp/expand
    name: str  # linear(512)
    blocks: tuple[int, ...]  # how many rows this is: one for each block of the loops around it
    width: int  # its units: the length of the last axis of its output; 0 for a tree or for integers
    activation: bool  # whether it maps single elements, so that a unit may die in it
    bounded: bool  # whether it can saturate
    spectrum: bool  # whether its rank is found


class Running(NamedTuple):
    """The sums of all leaf layers, of any number of passes. L counts blocks one by one."""

    rows: Static[tuple[LayerRow, ...]]
    y: Statistics  # (L,)
    dy: Statistics  # (L,)
    x: Moments  # (L,)
    dx: Moments  # (L,)
    nonzero: Array  # (Σ width,), elements of each unit that are not 0
    fed: Array  # (Σ width,), the same of x, for an activation; else 0
    flat: tuple[Array, Array]  # (L,) each: elements on a flat end, and elements
    scatter: dict[int, Scatter]  # by width, of all layers of that width with a spectrum
    dparams: list[PyTree]  # of each entry, with blocks in front; in float32 at least


class _Looked(NamedTuple):
    """What is special to one leaf layer, with an axis of blocks in front of every array."""

    flat: tuple[Array, Array] | None
    scatter: Scatter | None
    dparams: PyTree


def running(entries: Sequence[Seen], spectra: int, sample: int) -> Running:
    """The sums of one pass.

    Args:
      entries: what each leaf layer saw.
      spectra: the widest layer with a `scatter`.
      sample: elements of a histogram.
    """
    rows = tuple(row_of(entry, spectra) for entry in entries)
    once = _Once(sample)
    of_y, of_dy, of_x, of_dx = (
        [once.columns(tree) for tree in trees]
        for trees in zip(*((e.y, e.dy, e.x, e.dx) for e in entries), strict=True)
    )
    looked = [
        over_blocks(lambda entry, mean, row=row: _look(entry, mean, row), entry, _mean(found))
        for entry, row, found in zip(entries, rows, of_y, strict=True)
    ]
    dtype = computing_dtype(*jax.tree.leaves((of_y, of_dy)), _F32)
    by_width: dict[int, list[Scatter]] = defaultdict(list)
    for row, part in zip(rows, looked, strict=True):
        if part.scatter is not None:
            by_width[row.width].append(part.scatter)
    flats = [
        jnp.zeros((2, part_count(row)), dtype) if part.flat is None else jnp.stack(part.flat)
        for row, part in zip(rows, looked, strict=True)
    ]
    flat = jnp.concatenate([each.astype(dtype) for each in flats], axis=1)
    fed = [
        found[0].nonzero if row.activation else jnp.zeros((part_count(row), row.width), dtype)
        for row, found in zip(rows, of_x, strict=True)
    ]
    # Of x and dx no histogram is asked for.
    unseen = [
        [found._replace(sample=found.sample[:, :0]) for found in arrays]
        for arrays in (*of_x, *of_dx)
    ]
    together = gathered(_padded(rows * 4, [*of_y, *of_dy, *unseen]))
    y, dy, x, dx = (
        jax.tree.map(lambda leaf, i=i: leaf.reshape(4, -1, *leaf.shape[1:])[i], together)
        for i in range(4)
    )
    return Running(
        Static(rows),
        y,
        dy,
        x.moments,
        dx.moments,
        _flat(
            [found[0].nonzero for row, found in zip(rows, of_y, strict=True) if row.width], dtype
        ),
        _flat(fed, dtype),
        (flat[0], flat[1]),
        {
            width: jax.tree.map(lambda *each: jnp.concatenate(each), *found)
            for width, found in by_width.items()
        },
        [part.dparams for part in looked],
    )


def joined(a: Running, b: Running) -> Running:
    """The sums of two sets of passes."""
    add = jax.tree.map(jnp.add, a[5:8] + a[9:], b[5:8] + b[9:])
    return Running(
        a.rows,
        merged(a.y, b.y),
        merged(a.dy, b.dy),
        merged_moments(a.x, b.x),
        merged_moments(a.dx, b.dx),
        add[0],
        add[1],
        add[2],
        {
            width: jax.vmap(merged_scatter)(a.scatter[width], b.scatter[width])
            for width in a.scatter
        },
        add[3],
    )


def begun(like: Running) -> Running:
    """The sums of no pass, in the shapes of others."""
    zero = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), like)
    return zero._replace(y=empty(like.y), dy=empty(like.dy))


def part_count(row: LayerRow) -> int:
    """How many of L the row stands for."""
    count = 1
    for blocks in row.blocks:
        count *= blocks
    return count


def row_of(entry: Seen, spectra: int) -> LayerRow:
    """What is known of a layer before any pass; `spectra` is the widest with a rank."""
    x, y, name = _single(entry.x, loops=2), _single(entry.y, loops=2), entry.layer.name
    width = 0 if y is None else int(y.shape[-1])
    bounded = bool(width) and is_bounded(name)
    same = x is not None and y is not None and x.shape == y.shape
    drawn = name.partition("(")[0] in _DRAWN
    activation = same and not drawn and not jax.tree.leaves(entry.params)
    spectrum = 1 < width <= spectra
    return LayerRow(entry.path, name, entry.blocks, width, activation, bounded, spectrum)


class _Once:
    """The columns of an array, found once however often it is asked about: what one layer gives, the
    next one takes. A compiler does not see it, as of each it keeps only the sums that are used.
    """

    def __init__(self, sample: int) -> None:
        self.sample = sample
        self.known: dict[int, tuple[Array, Columns]] = {}

    def columns(self, tree: PyTree) -> list[Columns]:
        """Of the floating leaves of a tree, by blocks."""
        return [self._of(leaf) for leaf in jax.tree.leaves(tree) if is_floating(leaf)]

    def _of(self, array: Array) -> Columns:
        if id(array) not in self.known:
            look = partial(columns, sample=self.sample)
            self.known[id(array)] = (array, each_block(look, array))
        return self.known[id(array)][1]


def _mean(found: list[Columns]) -> Array | None:
    """(blocks, C), the mean of each unit."""
    return found[0].total / jnp.maximum(found[0].finite, 1) if found else None


def _look(entry: Seen, mean: Array | None, row: LayerRow) -> _Looked:
    """What a layer's arrays, (steps, …) here, add."""
    y = _single(entry.y, loops=1)
    return _Looked(
        saturated(row.name, y) if row.bounded and y is not None else None,
        scatter(y, mean) if row.spectrum and y is not None else None,
        jax.tree.map(_summed, entry.dparams),
    )


def _padded(rows: Sequence[LayerRow], sets: Sequence[Sequence[Columns]]) -> list[Sequence[Columns]]:
    """The sets, with as many of no numbers as there are blocks, where a layer has none."""
    found: list[Sequence[Columns]] = []
    for row, arrays in zip(rows, sets, strict=True):
        found += [arrays] if arrays else [()] * part_count(row)
    return found


def _single(tree: PyTree, loops: int) -> Array | None:
    """The array, if the tree is a single floating one of examples and units, behind the axes of loops."""
    leaves = jax.tree.leaves(tree)
    if len(leaves) != 1 or not is_floating(leaves[0]) or leaves[0].ndim < loops + 2:
        return None
    return leaves[0]


def _flat(arrays: Sequence[Array], dtype: Any) -> Array:
    given = [array.astype(dtype).reshape(-1) for array in arrays]
    return jnp.concatenate(given) if given else jnp.zeros(0, dtype)


def _summed(leaf: Array) -> Array:
    """The sum over the steps in time."""
    wide = leaf.astype(accumulation_dtype(leaf.dtype)) if is_floating(leaf) else leaf
    return wide[0] if leaf.shape[0] == 1 else wide.sum(axis=0)
