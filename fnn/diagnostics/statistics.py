"""Moments, extremes, counts and a histogram of many numbers, which combine without the numbers.

    n = n_a + n_b      δ = μ_b - μ_a      μ = μ_a + δ n_b / n      M = M_a + M_b + δ² n_a n_b / n

with M = Σ (x - μ)², so that a data set is seen part by part, in any order and grouping, in the memory of
one part. Source: Welford (1962); Chan, Golub, LeVeque (1983).
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from fnn.dtypes import accumulation_dtype, computing_dtype
from fnn.layer import Array

_DECADES = (-12, 4)  # of the edges of a histogram, two a decade
_MAGNITUDES = 10.0 ** (np.arange(2 * _DECADES[0], 2 * _DECADES[1] + 1) / 2)
# Symmetric, and equally wide in the logarithm of the magnitude; bin i holds EDGES[i - 1] <= x < EDGES[i].
EDGES: np.ndarray = np.concatenate([-_MAGNITUDES[::-1], _MAGNITUDES])
BINS = len(EDGES) + 1
SAMPLE = 16_384  # a search and a scatter take 30 ns a number, all the sums together 5
Five = tuple[Array, ...]


class Moments(NamedTuple):
    """The first three fields of `Statistics`, where no more is wanted."""

    finite: Array
    mean: Array
    squares: Array


class Statistics(NamedTuple):
    """Of a set of numbers, of those that are finite but where it says otherwise; all are scalars, but
    `histogram` has an axis of `BINS`. An axis in front of these stands for several sets.

    The counts are floats: exact up to 2²⁴ (2⁵³ in float64), and to a part in 10⁶ beyond.

    Attributes:
      finite: how many are finite.
      mean: of none: 0.
      squares: Σ (x - mean)².
      low: the smallest; of none: ∞.
      high: the largest; of none: -∞.
      zeros: how many are exactly 0.
      nonfinite: how many are infinite or NaN.
      histogram: (BINS,), counts of a sample by `EDGES`; ∞ counts in the outermost, NaN nowhere.
    """

    finite: Array
    mean: Array
    squares: Array
    low: Array
    high: Array
    zeros: Array
    nonfinite: Array
    histogram: Array

    @property
    def moments(self) -> Moments:
        """The first three fields."""
        return Moments(self.finite, self.mean, self.squares)

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
    """What `columns` finds of an array (…, C), by unit: by index of the last axis."""

    finite: Array  # (C,), how many elements are
    total: Array  # (C,), their sum
    squares: Array  # (C,), Σ (x - mean)² about the unit's own mean
    nonzero: Array  # (C,), how many are not 0, those that are not finite among them
    low: Array  # (C,)
    high: Array  # (C,)
    elements: Array  # (), of each unit
    sample: Array  # (K,), elements of whole rows


def statistics(x: Array, *, sample: int = SAMPLE) -> Statistics:
    """Those of all elements of `x`, floating, of any shape; in float32 at least.

    The histogram is that of about `sample` elements at most: of whole rows, all of them if they are few
    enough and else at equal distances. Two passes: the deviations are from the mean, so nothing cancels.

    Raises:
      TypeError: x is not of floats.
    """
    if not is_floating(x):
        raise TypeError(f"statistics: expected x of a floating dtype, got {x.dtype}")
    found = jax.tree.map(lambda leaf: leaf[None], columns(x, sample))
    return jax.tree.map(lambda leaf: leaf[0], gathered([[found]]))


def columns(x: Array, sample: int = SAMPLE) -> Columns:
    """The part of `statistics` that has to see all elements: in two passes.

    The rest is done by `gathered` for many arrays at once, as every kernel has to be compiled. Sums down
    the columns are vectorized, and are wanted by unit too.
    """
    wide = x.astype(accumulation_dtype(x.dtype))
    rows = wide.reshape(-1, x.shape[-1] if x.ndim else 1)
    dtype = rows.dtype
    count, total, nonzero, low, high = _at_once(rows)
    mean = total / jnp.maximum(count, 1)
    finite = jnp.isfinite(rows)
    return Columns(
        count,
        total,
        jnp.square(jnp.where(finite, rows - mean[None], 0)).sum(axis=0),
        nonzero,
        low,
        high,
        jnp.asarray(rows.shape[0], dtype),
        _sampled(rows, sample).reshape(-1),
    )


def _five(rows: Array) -> Five:
    """Of each number: whether it is finite, itself if so, whether it is not 0, and itself twice more."""
    finite = jnp.isfinite(rows)
    return (
        finite.astype(rows.dtype),
        jnp.where(finite, rows, 0),
        (rows != 0).astype(rows.dtype),
        jnp.where(finite, rows, jnp.inf),
        jnp.where(finite, rows, -jnp.inf),
    )


def _at_once(rows: Array) -> Five:
    """The five reduced down the columns, as one reduction: a quarter of five ones' time to compile."""
    zero = jnp.zeros((), rows.dtype)
    starts = (zero, zero, zero, zero + jnp.inf, zero - jnp.inf)
    found: Five = jax.lax.reduce(_five(rows), starts, _both, (0,))
    return found


def _both(a: Five, b: Five) -> Five:
    """Of the five that are reduced, three sums and two extremes."""
    sums = (x + y for x, y in zip(a[:3], b[:3], strict=True))
    return (*sums, jnp.minimum(a[3], b[3]), jnp.maximum(a[4], b[4]))


def gathered(sets: Sequence[Sequence[Columns]]) -> Statistics:
    """The statistics of several sets of arrays, (S,) each.

    What belongs to a set are the arrays of one of the sequences together; where their `columns` have an
    axis of length B in front, these are B sets. A sequence without any array is a set of no numbers.
    """
    given = [(i, array) for i, arrays in enumerate(sets) for array in arrays]
    lengths = [arrays[0].finite.shape[0] if arrays else 1 for arrays in sets]
    starts = np.cumsum([0, *lengths])
    dtype = computing_dtype(*(a.total for _, a in given)) if given else jnp.dtype(jnp.float32)
    size = int(starts[-1])

    def owners(width: Callable[[Columns], int]) -> np.ndarray:
        each = [np.repeat(np.arange(starts[i], starts[i + 1]), width(array)) for i, array in given]
        return np.concatenate(each) if each else np.zeros(0, np.int64)

    def flat(field: Callable[[Columns], Array]) -> Array:
        arrays = [field(array).astype(dtype).reshape(-1) for _, array in given]
        return jnp.concatenate(arrays) if arrays else jnp.zeros(0, dtype)

    by_unit = owners(lambda array: array.finite.shape[-1])

    def summed(values: Array) -> Array:
        return jnp.zeros(size, dtype).at[by_unit].add(values)

    count, total = flat(lambda a: a.finite), flat(lambda a: a.total)
    counts = summed(count)
    mean = summed(total) / jnp.maximum(counts, 1)
    own_mean = total / jnp.maximum(count, 1)
    squares = flat(lambda a: a.squares) + count * jnp.square(own_mean - mean[by_unit])
    elements = summed(flat(lambda a: a.elements[..., None] + jnp.zeros_like(a.finite)))
    sample = flat(lambda a: a.sample)
    return Statistics(
        counts,
        mean,
        summed(squares),
        jnp.full(size, jnp.inf, dtype).at[by_unit].min(flat(lambda a: a.low)),
        jnp.full(size, -jnp.inf, dtype).at[by_unit].max(flat(lambda a: a.high)),
        elements - summed(flat(lambda a: a.nonzero)),
        elements - counts,
        _histograms(sample, owners(lambda array: array.sample.shape[-1]), size),
    )


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
    count = a.finite + b.finite
    share = b.finite / jnp.maximum(count, 1)
    step = b.mean - a.mean
    squares = a.squares + b.squares + jnp.square(step) * a.finite * share
    return Moments(count, a.mean + step * share, squares)


def deviation(of: Moments) -> Array:
    """√(Σ (x - mean)² / n), 0 of no numbers; on the host where the moments are NumPy's."""
    on = _library(of.finite)
    return on.sqrt(of.squares / on.maximum(of.finite, 1))


def norm(of: Moments) -> Array:
    """√Σ x²; on the host where the moments are NumPy's."""
    on = _library(of.finite)
    return on.sqrt(of.squares + of.finite * on.square(of.mean))


def rms(of: Moments) -> Array:
    """√(Σ x² / n), 0 of no numbers; on the host where the moments are NumPy's."""
    on = _library(of.finite)
    return norm(of) / on.sqrt(on.maximum(of.finite, 1))


def _library(given: Any) -> Any:
    return np if isinstance(given, np.ndarray | np.generic) else jnp


def empty(like: Statistics) -> Statistics:
    """Those of no numbers, in the shapes and dtypes of others."""
    zero = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), like)
    return zero._replace(low=zero.low + jnp.inf, high=zero.high - jnp.inf)


def _histograms(x: Array, owner: np.ndarray, sets: int) -> Array:
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
