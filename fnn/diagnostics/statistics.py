"""Moments, extremes, counts and a histogram of many numbers, which combine without the numbers.

    n = n_a + n_b      δ = μ_b - μ_a      μ = μ_a + δ n_b / n      M = M_a + M_b + δ² n_a n_b / n

with M = Σ (x - μ)², so that a data set is seen part by part, in any order and grouping, in the memory of
one part. Source: Welford (1962); Chan, Golub, LeVeque (1983).
"""

import math
from functools import reduce
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from fnn.dtypes import accumulation_dtype, computing_dtype
from fnn.layer import Array, PyTree

_DECADES = (-12, 4)  # of the edges of a histogram, two a decade
_MAGNITUDES = 10.0 ** (np.arange(2 * _DECADES[0], 2 * _DECADES[1] + 1) / 2)
# Symmetric, and equally wide in the logarithm of the magnitude; bin i holds EDGES[i - 1] <= x < EDGES[i].
EDGES: np.ndarray = np.concatenate([-_MAGNITUDES[::-1], _MAGNITUDES])
BINS = len(EDGES) + 1
SAMPLE = 16_384  # a search and a scatter take 30 ns a number, all the sums together 5


class Moments(NamedTuple):
    """The first three fields of `Statistics`, where no more is wanted."""

    count: Array
    mean: Array
    squares: Array


class Statistics(NamedTuple):
    """Of a set of numbers, of those that are finite but where it says otherwise; all are scalars, but
    `histogram` has an axis of `BINS`. Axes in front of these stand for several sets.

    The counts are floats: exact up to 2²⁴ (2⁵³ in float64), and to a part in 10⁷ beyond.
    """

    count: Array  # of finite numbers
    mean: Array  # of none: 0
    squares: Array  # Σ (x - mean)²
    low: Array  # the smallest; of none: ∞
    high: Array  # the largest; of none: -∞
    zeros: Array  # how many are exactly 0
    nonfinite: Array  # how many are infinite or NaN
    histogram: (
        Array  # (BINS,), counts of a sample by `EDGES`; ∞ counts in the outermost, NaN nowhere
    )

    @property
    def moments(self) -> Moments:
        """The first three fields."""
        return Moments(self.count, self.mean, self.squares)

    @property
    def deviation(self) -> Array:
        """√(Σ (x - mean)² / n), 0 of no numbers."""
        return deviation(self.moments)

    @property
    def norm(self) -> Array:
        """√Σ x²."""
        return norm(self.moments)

    @property
    def rms(self) -> Array:
        """√(Σ x² / n), 0 of no numbers."""
        return rms(self.moments)


class Columns(NamedTuple):
    """What `statistics` finds on the way, of each unit: of each index of the last axis."""

    nonzero: Array  # (C,), how many elements are not 0, those that are not finite among them
    mean: Array  # (C,), of the finite ones


def statistics(x: Array, *, sample: int = SAMPLE) -> Statistics:
    """Those of all elements of `x`, floating, of any shape; in float32 at least.

    The histogram is that of about `sample` elements at most: of whole rows, all of them if they are few
    enough and else at equal distances. Two passes: the deviations are from the mean, so nothing cancels.

    Raises:
      TypeError: x is not of floats.
    """
    if not is_floating(x):
        raise TypeError(f"statistics: expected x of a floating dtype, got {x.dtype}")
    return binned(sums(x, sample)[0])


def sums(x: Array, sample: int = SAMPLE) -> tuple[Statistics, Columns]:
    """`statistics`, with the sample itself in place of its histogram, for `binned`; and by unit."""
    wide = x.astype(accumulation_dtype(x.dtype))
    rows = wide.reshape(-1, x.shape[-1] if x.ndim else 1)
    dtype = rows.dtype
    finite = jnp.isfinite(rows)
    kept = jnp.where(finite, rows, 0)
    # Sums down the columns are vectorized, and are wanted by unit too. Integers count beyond 2²⁴. What
    # is summed along the row of results is stacked, since every kernel has to be compiled.
    each = finite.sum(axis=0, dtype=jnp.int32).astype(dtype)
    totals = kept.sum(axis=0)
    nonzero = (rows != 0).sum(axis=0, dtype=jnp.int32).astype(dtype)
    count, total, filled = jnp.stack([each, totals, nonzero]).sum(axis=1)
    mean = total / jnp.maximum(count, 1)
    deviations = jnp.where(finite, rows - mean, 0)
    lowest = jnp.where(finite, rows, jnp.inf).min(axis=0, initial=jnp.inf)
    highest = jnp.where(finite, rows, -jnp.inf).max(axis=0, initial=-jnp.inf)
    low, high = jnp.stack([lowest, -highest]).min(axis=1, initial=jnp.inf)
    found = Statistics(
        count,
        mean,
        jnp.square(deviations).sum(axis=0).sum(),
        low,
        -high,
        rows.size - filled,
        rows.size - count,
        _sampled(rows, sample).reshape(-1),
    )
    return found, Columns(nonzero, totals / jnp.maximum(each, 1))


def of_tree(tree: PyTree, sample: int = SAMPLE) -> Statistics | None:
    """The `sums` of all floating leaves of a tree together; None if it has none."""
    leaves = [sums(leaf, sample)[0] for leaf in jax.tree.leaves(tree) if is_floating(leaf)]
    if not leaves:
        return None
    samples = [leaf.histogram for leaf in leaves]
    dtype = computing_dtype(*samples)
    together = jnp.concatenate([each.astype(dtype) for each in samples])
    nothing = jnp.zeros(0, dtype)
    united = reduce(merged, (leaf._replace(histogram=nothing) for leaf in leaves))
    return united._replace(histogram=together)


def binned(tree: PyTree) -> PyTree:
    """Every `sums` in the tree with the histogram of its sample, all of them found by one search.

    A sample may have axes in front, of several sets.
    """
    leaves, structure = jax.tree.flatten(tree, is_leaf=_is_statistics)
    found = [leaf for leaf in leaves if _is_statistics(leaf)]
    if not found:
        return tree
    dtype = computing_dtype(*(each.histogram for each in found))
    values = jnp.concatenate([each.histogram.astype(dtype).reshape(-1) for each in found])
    sets = [math.prod(each.histogram.shape[:-1]) for each in found]
    starts = np.cumsum([0, *sets])
    owner = np.concatenate(
        [
            start + np.repeat(np.arange(count), each.histogram.shape[-1])
            for start, count, each in zip(starts[:-1], sets, found, strict=True)
        ]
    )
    counts = histogram(values, owner, int(starts[-1]))
    pieces = iter(
        counts[start : start + count]
        .reshape(*each.histogram.shape[:-1], BINS)
        .astype(each.mean.dtype)
        for start, count, each in zip(starts[:-1], sets, found, strict=True)
    )
    return structure.unflatten(
        leaf._replace(histogram=next(pieces)) if _is_statistics(leaf) else leaf for leaf in leaves
    )


def _is_statistics(leaf: Any) -> bool:
    return isinstance(leaf, Statistics)


def is_floating(leaf: Any) -> bool:
    """Whether it holds real floating numbers, of which there are statistics."""
    return bool(jnp.issubdtype(leaf.dtype, jnp.floating))


def merged(a: Statistics, b: Statistics) -> Statistics:
    """Those of the union of two sets; associative, and `empty` is neutral."""
    dtype = computing_dtype(a.mean, b.mean)
    a, b = (jax.tree.map(lambda leaf: leaf.astype(dtype), given) for given in (a, b))
    return Statistics(
        *merged_moments(a.moments, b.moments),
        jnp.minimum(a.low, b.low),
        jnp.maximum(a.high, b.high),
        a.zeros + b.zeros,
        a.nonfinite + b.nonfinite,
        a.histogram + b.histogram,
    )


def merged_moments(a: Moments, b: Moments) -> Moments:
    """Those of the union of two sets; associative, and all zeros are neutral."""
    count = a.count + b.count
    share = b.count / jnp.maximum(count, 1)
    step = b.mean - a.mean
    squares = a.squares + b.squares + jnp.square(step) * a.count * share
    return Moments(count, a.mean + step * share, squares)


def deviation(of: Moments) -> Array:
    """√(Σ (x - mean)² / n), 0 of no numbers; on the host where the moments are NumPy's."""
    on = _library(of.count)
    return on.sqrt(of.squares / on.maximum(of.count, 1))


def norm(of: Moments) -> Array:
    """√Σ x²; on the host where the moments are NumPy's."""
    on = _library(of.count)
    return on.sqrt(of.squares + of.count * on.square(of.mean))


def rms(of: Moments) -> Array:
    """√(Σ x² / n), 0 of no numbers; on the host where the moments are NumPy's."""
    on = _library(of.count)
    return norm(of) / on.sqrt(on.maximum(of.count, 1))


def _library(given: Any) -> Any:
    return np if isinstance(given, np.ndarray | np.generic) else jnp


def empty(like: Statistics) -> Statistics:
    """Those of no numbers, in the shapes and dtypes of others."""
    zero = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), like)
    return zero._replace(low=zero.low + jnp.inf, high=zero.high - jnp.inf)


def histogram(x: Array, owner: np.ndarray, sets: int) -> Array:
    """(sets, BINS): of each set, how many of its elements of x (K,) lie in each bin; NaN in none.

    `owner` (K,) is the number of the set that an element belongs to.
    """
    places = jnp.searchsorted(jnp.asarray(EDGES, x.dtype), x, side="right", method="scan_unrolled")
    places = places + jnp.asarray(owner * BINS, places.dtype)
    places = jnp.where(jnp.isnan(x), sets * BINS, places)  # out of range, where it is dropped
    return jnp.zeros(sets * BINS, x.dtype).at[places].add(1, mode="drop").reshape(sets, BINS)


def histogram_text(counts: np.ndarray, width: int = 40) -> str:
    """A histogram as lines of text: a bar a bin, the empty ones at both ends left out."""
    counts = np.asarray(counts, np.float64)
    filled = np.flatnonzero(counts)
    if not filled.size:
        return "no finite numbers"
    ends = ["-∞", *(f"{edge:.1e}" for edge in EDGES), "∞"]
    lines = []
    for i in range(filled[0], filled[-1] + 1):
        bar = "█" * math.ceil(width * counts[i] / counts.max())
        lines.append(f"{ends[i]:>9} {ends[i + 1]:>9}  {counts[i] / counts.sum():6.1%}  {bar}")
    return "\n".join(line.rstrip() for line in lines)


def _sampled(rows: Array, sample: int) -> Array:
    """Rows at equal distances, of at most `sample` elements, but one at least.

    The distance is odd, so that it does not fall in step with an image of even width.
    """
    every = -(-rows.size // max(sample, 1))
    every += every % 2 == 0
    return rows[:: max(every, 1)]
