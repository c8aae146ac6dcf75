"""Fractional max pooling: to a size that does not divide the image's, over regions that are drawn."""

import functools
import math
from fractions import Fraction
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp

from fnn.dtypes import parameter_dtype
from fnn.layer import Array, Key, Layer, PyTree, Static, as_arrays
from fnn.layers.pooling_regions import Holders, Regions, region_maxima, spread_to_region_places
from fnn.layers.windows import MOST_AXES

Kind = Literal["pseudorandom", "random"]
KINDS = ("pseudorandom", "random")


class FractionalCache(NamedTuple):
    """Which pixel of each region was taken, and the regions: a few integers for each pixel of an axis."""

    places: tuple[Array, ...]  # uint8 for regions of at most 255 pixels, else int32
    holders: tuple[Holders, ...]  # of each axis
    dtype: Static[Any]  # of x


def fractional_max_pool(
    ratio: float | tuple[float, ...], *, regions: Kind = "pseudorandom", overlapping: bool = True
) -> Layer:
    """The maxima of regions whose sizes differ by one and whose borders are drawn by the key.

    An axis of n pixels becomes one of ``m = ⌊n / ratio⌋``. Its borders ``0 = a_0 < a_1 < … < a_m`` end at
    n, or at n - 1 where regions overlap; region i holds the pixels from a_i to a_{i+1} - 1, or to a_{i+1}
    with overlap: every pixel is in one. With E = a_m, "pseudorandom" borders are ``⌊(E i + k) / m⌋``
    with k drawn from 0 … m - 1: all that ⌈α (i + u)⌉ of the source can be, α = E / m. "random" ones have
    the steps ⌊α⌋ and ⌈α⌉ that add up to E, in an order that is drawn. Each axis has its draw, one for the
    whole batch and all channels.

    Forward: the largest pixel of each region. Backward: dy goes to the pixel that was taken, and adds up
    where regions share it; others get 0. Subgradient: of equal pixels the first of the region, row by
    row, is taken; a NaN is larger than any number. `predict` has no key and takes the middle of the
    pseudorandom borders, k = ⌊m / 2⌋, for either kind; to average over regions, as the source does at
    test, call `forward` with several keys.

    Shapes: x (N, *spatial, C) with one to three spatial axes, y (N, *outputs, C). Cache: the places of
    the maxima axis by axis, each over what the axes after it left: a byte each, four
    for regions of more than 255 pixels of an axis; and the borders. Source: Graham (2014), whose regions
    without overlap leave out the last pixel of an axis; these do not.

    Args:
      ratio: pixels over outputs, at least 1: one for every axis, or one for each. It is taken as the
        decimal that it is written as, so that 11 pixels at 1.1 are 10, but for its last bits, so that
        23 pixels at 23 / 19 are 19.
      regions: how the borders are drawn.
      overlapping: whether neighbours share the pixel at their border.

    Raises:
      TypeError: x is not of real floats.
      ValueError: a setting is out of range, x is no batch of images, an axis is too short to be divided
        so, or `forward` gets no key.
    """
    ratios = ratio if isinstance(ratio, tuple) else (ratio,)
    numbers = all(1 <= r < math.inf and not isinstance(r, bool) for r in ratios)
    if not 1 <= len(ratios) <= MOST_AXES or not numbers:
        raise ValueError(
            "fractional_max_pool: expected a ratio of one number, or one for each of at most "
            f"{MOST_AXES} axes, each finite and at least 1, got {ratio!r}"
        )
    if regions not in KINDS:
        raise ValueError(f"fractional_max_pool: expected regions among {KINDS}, got {regions!r}")
    given = "x".join(f"{r:.3g}" for r in ratios)
    name = f"fractional_max_pool({given})"

    def init(key: Key, x: Array) -> tuple[tuple[()], tuple[()]]:
        del key  # no parameters, no state
        outputs(x.shape)
        return (), ()

    def outputs(shape: tuple[int, ...]) -> tuple[int, ...]:
        """How many regions each axis has."""
        rank = len(ratios) if isinstance(ratio, tuple) else len(shape) - 2
        if not 1 <= rank <= MOST_AXES or len(shape) != rank + 2 or shape[-1] < 1:
            axes = rank if isinstance(ratio, tuple) else f"one to {MOST_AXES}"
            raise ValueError(
                f"{name}: expected x of shape (N, *spatial, C) with {axes} spatial axes, got {shape}"
            )
        of_axes = ratios if isinstance(ratio, tuple) else ratios * rank
        counts = tuple(_count(n, r) for n, r in zip(shape[1:-1], of_axes, strict=True))
        if any(not 1 <= m <= n - overlapping for n, m in zip(shape[1:-1], counts, strict=True)):
            raise ValueError(
                f"{name}: expected axes of pixels for each of their ⌊size / ratio⌋ regions"
                f"{' and one to share' if overlapping else ''}, got {shape[1:-1]} for {counts} "
                "regions; take another ratio or a larger image"
            )
        return counts

    def forward(
        params: PyTree, state: PyTree, x: Array, key: Key
    ) -> tuple[Array, PyTree, FractionalCache]:
        del params  # there are none
        if key is None:
            raise ValueError(f"{name}: expected a key to draw the regions with, got None")
        x = as_arrays(x)
        parameter_dtype(x)  # what is larger has to be known, and a direction
        y, places, holders = _pooled(x, key, outputs(x.shape), regions, overlapping)
        return y, state, FractionalCache(places, holders, Static(x.dtype))

    def backward(params: PyTree, cache: FractionalCache, dy: Array) -> tuple[PyTree, Array]:
        dy = as_arrays(dy).astype(cache.dtype.value)
        return params, _spread(dy, cache.places, cache.holders)

    def predict(params: PyTree, state: PyTree, x: Array) -> Array:
        del params, state  # there are none
        x = as_arrays(x)
        parameter_dtype(x)
        return _pooled(x, None, outputs(x.shape), regions, overlapping)[0]

    return Layer(name, init, forward, backward, predict)


def _count(pixels: int, ratio: float) -> int:
    """⌊pixels / ratio⌋, of the decimal as it was written: of floats, 11 // 1.1 is 9.

    One that was computed, 23 / 19, was rounded, and so was its decimal: a quotient that misses a whole
    number by no more than that is that number. Ratios of up to ten digits come so near to none else.
    """
    rounding = Fraction(1, 1 << (50 if isinstance(ratio, float | int) else 21))  # numpy's: float32
    return math.floor(pixels / Fraction(str(ratio)) * (1 + rounding))


@functools.partial(jax.jit, static_argnames=("outputs", "kind", "overlapping"))
def _pooled(
    x: Array, key: Key, outputs: tuple[int, ...], kind: Kind, overlapping: bool
) -> tuple[Array, tuple[Array, ...], tuple[Holders, ...]]:
    drawn = _drawn(key, x.shape[1:-1], outputs, kind, overlapping)
    return *region_maxima(x, drawn), tuple(of_axis.holders for of_axis in drawn)


_spread = jax.jit(spread_to_region_places)


def _drawn(
    key: Key, image: tuple[int, ...], outputs: tuple[int, ...], kind: Kind, overlapping: bool
) -> list[Regions]:
    """The regions of each axis."""
    drawn = []
    for axis, (n, m) in enumerate(zip(image, outputs, strict=True)):
        of_axis = None if key is None else jax.random.fold_in(key, axis)
        drawn.append(_between(_borders(of_axis, n - overlapping, m, kind), n, overlapping))
    return drawn


def _borders(key: Key, end: int, m: int, kind: Kind) -> Array:
    """(m + 1,): from 0 to `end`, with steps of ⌊end / m⌋ and ⌈end / m⌉."""
    i = jnp.arange(m + 1, dtype=jnp.int32)
    if key is None:
        return (end * i + m // 2) // m
    if kind == "pseudorandom":
        return (end * i + jax.random.randint(key, (), 0, m, jnp.int32)) // m
    step, longer = divmod(end, m)
    steps = step + jax.random.permutation(key, (i[1:] <= longer).astype(jnp.int32))
    return jnp.concatenate([jnp.zeros(1, jnp.int32), jnp.cumsum(steps, dtype=jnp.int32)])


def _between(borders: Array, n: int, overlapping: bool) -> Regions:
    """The regions between borders; a pixel at a border is in two of them if they overlap."""
    m, shared = borders.shape[0] - 1, int(overlapping)
    length = borders[1:] - borders[:-1] + shared
    longest = -(-(n - shared) // m) + shared
    i = jnp.arange(longest, dtype=jnp.int32)[:, None]
    pixel = borders[None, :-1] + jnp.minimum(i, length[None, :] - 1)
    here = jnp.arange(n, dtype=jnp.int32)
    # The last region that begins at or before a pixel; with overlap the last pixel begins none.
    begun = (borders[None, :-1] <= here[:, None]).sum(axis=1, dtype=jnp.int32) - 1
    region, place = begun[None], (here - borders[begun])[None]
    if overlapping:
        before = jnp.maximum(begun - 1, 0)
        at_border = (borders[begun] == here) & (begun > 0)
        region = jnp.stack([begun, before])
        place = jnp.stack([place[0], jnp.where(at_border, here - borders[before], -1)])
    return Regions(length, pixel, Holders(region, place))
