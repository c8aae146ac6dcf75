"""Images sampled at the places that an affine map gives, with a backward pass written by hand.

    row(i, j)    = A₀₀ (i - c) + A₀₁ (j - d) + A₀₂ + (H - 1) / 2,     c = (h - 1) / 2, d = (w - 1) / 2
    column(i, j) = A₁₀ (i - c) + A₁₁ (j - d) + A₁₂ + (W - 1) / 2

is where in the image (H, W, C) the pixel (i, j) of the output (h, w, C) looks: a matrix A (2, 3), in
pixels around the middle of both. The four neighbours come by gathers of flattened pixels. Places are
clipped as integers, so that no index leaves the image, whatever the matrix holds.
"""

from typing import Any, Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp

from fnn.dtypes import accumulation_dtype
from fnn.layer import Array, Layer, PyTree, pure

Edge = Literal["constant", "edge", "reflect"]
Interpolation = Literal["bilinear", "nearest"]


class Sampling(NamedTuple):
    """How images are sampled: the size of the output, and what lies between and outside of the pixels."""

    size: tuple[int, int] | None
    interpolation: Interpolation
    edge: Edge
    fill: float


class ResampleCache(NamedTuple):
    """What came in: the neighbours are gathered again."""

    images: Array  # (N, H, W, C)
    matrices: Array  # (N, 2, 3)


class _Axis(NamedTuple):
    """The two neighbours on an axis, each (h, w)."""

    low: Array  # int32, the place of the one at or before
    high: Array  # int32, of the one after it
    fraction: Array  # how far it is from the first to the second, in [0, 1)


def resample(
    size: tuple[int, int] | None = None,
    *,
    interpolation: Interpolation = "bilinear",
    edge: Edge = "constant",
    fill: float = 0.0,
) -> Layer:
    """Images under affine maps: x = (images, matrices) -> y, differentiable in both.

    Forward, for each example, with the row r and the column s where an output pixel looks (above), their
    fractions u = r - ⌊r⌋ and v = s - ⌊s⌋, and the four neighbours p₀₀ … p₁₁ from (⌊r⌋, ⌊s⌋) on:

        y = (1-u) ((1-v) p₀₀ + v p₀₁) + u ((1-v) p₁₀ + v p₁₁)

    Backward: each neighbour gets dy times its weight, added up over the pixels that look at it, and

        dr = Σ_channels dy ((1-v) (p₁₀ - p₀₀) + v (p₁₁ - p₀₁))      dA₀ = Σ_pixels dr · (i - c, j - d, 1)
        ds = Σ_channels dy ((1-u) (p₀₁ - p₀₀) + u (p₁₁ - p₁₀))      dA₁ = Σ_pixels ds · (i - c, j - d, 1)

    Where a pixel looks exactly at a row or a column, the derivative is the one towards larger numbers.
    With "nearest", y is the pixel at (⌊r + ½⌋, ⌊s + ½⌋), and dA = 0.

    Shapes: images (N, H, W, C), matrices (N, 2, 3), y (N, h, w, C) of the images' dtype. Cache: images
    and matrices. Source: Jaderberg, Simonyan, Zisserman, Kavukcuoglu (2015), there in [-1, 1].

    Args:
      size: (h, w) of the output; the images' own by default.
      interpolation: between pixels.
      edge: outside of the image: "constant" for `fill`, "edge" for the nearest pixel, "reflect" for the
        image reflected about its outermost pixels, as `numpy.pad` names them.
      fill: the constant.

    Raises:
      TypeError: images or matrices are of integers.
      ValueError: an option that is none, shapes that do not fit, or images without a pixel.
    """
    sampling = checked_sampling("resample", size, interpolation, edge, fill)

    def forward(params: tuple[()], x: tuple[Array, Array]) -> tuple[Array, ResampleCache]:
        del params  # there are none
        images, matrices = _checked_inputs(x)
        y = jax.vmap(lambda image, matrix: sampled(image, matrix, sampling))(images, matrices)
        return y, ResampleCache(images, matrices)

    def backward(
        params: PyTree, cache: ResampleCache, dy: Array
    ) -> tuple[PyTree, tuple[Array, Array]]:
        images, matrices = cache
        dy = dy.astype(images.dtype)
        return params, jax.vmap(lambda image, matrix, dy: _transposed(image, matrix, dy, sampling))(
            images, matrices, dy
        )

    return pure("resample()" if size is None else f"resample({size})", forward, backward)


def checked_sampling(
    name: str,
    size: tuple[int, int] | None,
    interpolation: Interpolation,
    edge: Edge,
    fill: float,
) -> Sampling:
    """The options as a value.

    Raises:
      ValueError: one that makes no sense.
    """
    if size is not None and (len(size) != 2 or any(not isinstance(n, int) or n < 1 for n in size)):
        raise ValueError(f"{name}: expected a size of two positive integers or None, got {size!r}")
    options = {"interpolation": (Interpolation, interpolation), "edge": (Edge, edge)}
    for option, (kinds, given) in options.items():
        if given not in get_args(kinds):
            raise ValueError(f"{name}: expected {option} among {get_args(kinds)}, got {given!r}")
    if not -float("inf") < fill < float("inf"):
        raise ValueError(f"{name}: expected a finite fill, got {fill!r}")
    return Sampling(size, interpolation, edge, fill)


def sampled(image: Array, matrix: Array, sampling: Sampling) -> Array:
    """One image (H, W, C) under one matrix (2, 3), in the dtype of the image.

    Bytes and other integers are interpolated in float32 and rounded, to even if in the middle.
    """
    pixels, (rows, columns) = _seen(image, matrix, sampling)
    width = image.shape[1] + 2 * (sampling.edge == "constant")
    if sampling.interpolation == "nearest":
        return _at(pixels, rows.low * width + columns.low)
    wide = _wide(image.dtype)
    u, v = (axis.fraction[..., None].astype(wide) for axis in (rows, columns))
    upper, lower = (
        (1 - v) * _at(pixels, row * width + columns.low).astype(wide)
        + v * _at(pixels, row * width + columns.high).astype(wide)
        for row in (rows.low, rows.high)
    )
    y = (1 - u) * upper + u * lower
    return y.astype(image.dtype) if _is_inexact(image) else jnp.rint(y).astype(image.dtype)


def _transposed(image: Array, matrix: Array, dy: Array, sampling: Sampling) -> tuple[Array, Array]:
    """What the image and the matrix get of dy (h, w, C)."""
    pixels, (rows, columns) = _seen(image, matrix, sampling)
    border = int(sampling.edge == "constant")
    height, width = (n + 2 * border for n in image.shape[:2])
    wide = accumulation_dtype(image.dtype)
    dy = dy.astype(wide)
    nothing = jnp.zeros(pixels.shape, wide)

    def cropped(dpixels: Array) -> Array:
        whole = dpixels.reshape(height, width, -1)
        return whole[border : height - border, border : width - border].astype(image.dtype)

    if sampling.interpolation == "nearest":
        dpixels = nothing.at[rows.low * width + columns.low].add(dy, mode="promise_in_bounds")
        return cropped(dpixels), jnp.zeros_like(matrix)
    u, v = (axis.fraction[..., None].astype(wide) for axis in (rows, columns))
    dpixels, drow, dcolumn = nothing, 0.0 * u[..., 0], 0.0 * v[..., 0]
    for row, of_row, row_sign in ((rows.low, 1 - u, -1.0), (rows.high, u, 1.0)):
        for column, of_column, column_sign in ((columns.low, 1 - v, -1.0), (columns.high, v, 1.0)):
            place = row * width + column
            dpixels = dpixels.at[place].add(of_row * of_column * dy, mode="promise_in_bounds")
            seen = dy * _at(pixels, place).astype(wide)
            drow = drow + row_sign * (of_column * seen).sum(axis=-1)
            dcolumn = dcolumn + column_sign * (of_row * seen).sum(axis=-1)
    i, j = _around_middle(dy.shape[:2], wide)
    dmatrix = jnp.stack(
        [
            jnp.stack([(d * i[:, None]).sum(), (d * j[None, :]).sum(), d.sum()])
            for d in (drow, dcolumn)
        ]
    )
    return cropped(dpixels), dmatrix.astype(matrix.dtype)


def _seen(image: Array, matrix: Array, sampling: Sampling) -> tuple[Array, tuple[_Axis, _Axis]]:
    """The pixels (P, C) in one row, with a border if there is a fill, and which of them are looked at."""
    height, width, channels = image.shape
    size = sampling.size or (height, width)
    matrix = matrix.astype(accumulation_dtype(matrix.dtype))
    i, j = _around_middle(size, matrix.dtype)
    rows, columns = (
        _axis(a[0] * i[:, None] + a[1] * j[None, :] + (a[2] + (n - 1) / 2), n, sampling)
        for a, n in zip(matrix, (height, width), strict=True)
    )
    if sampling.edge == "constant":
        border = ((1, 1), (1, 1), (0, 0))
        image = jnp.pad(image, border, constant_values=jnp.asarray(sampling.fill, image.dtype))
    return image.reshape(-1, channels), (rows, columns)


def _axis(place: Array, n: int, sampling: Sampling) -> _Axis:
    """The neighbours on an axis of n pixels; of "nearest", the first one is the pixel."""
    if sampling.interpolation == "nearest":
        place = place + 0.5
    below = jnp.floor(place)
    first = below.astype(jnp.int32)
    low, high = (_inside(i, n, sampling.edge) for i in (first, first + 1))
    return _Axis(low, high, place - below)


def _inside(i: Array, n: int, edge: Edge) -> Array:
    """The pixel that stands for the i-th one, counted from the border where there is one."""
    if edge == "constant":
        return jnp.clip(i, -1, n) + 1
    if edge == "edge":
        return jnp.clip(i, 0, n - 1)
    period = max(2 * (n - 1), 1)
    i = jnp.mod(i, period)
    return jnp.minimum(i, period - i)


def _at(pixels: Array, places: Array) -> Array:
    return pixels.at[places].get(mode="promise_in_bounds")


def _around_middle(size: tuple[int, ...], dtype: Any) -> tuple[Array, Array]:
    """Rows (h,) and columns (w,), counted from the middle."""
    h, w = (jnp.arange(n, dtype=dtype) - (n - 1) / 2 for n in size)
    return h, w


def _wide(dtype: Any) -> Any:
    """What pixels are interpolated in."""
    return accumulation_dtype(dtype) if jnp.issubdtype(dtype, jnp.inexact) else jnp.float32


def _is_inexact(image: Array) -> bool:
    return bool(jnp.issubdtype(image.dtype, jnp.inexact))


def _checked_inputs(x: tuple[Array, Array]) -> tuple[Array, Array]:
    if not isinstance(x, tuple | list) or len(x) != 2:
        raise ValueError(f"resample: expected x = (images, matrices), got {type(x).__name__}")
    images, matrices = x
    for what, array in (("images", images), ("matrices", matrices)):
        if not jnp.issubdtype(array.dtype, jnp.floating):
            raise TypeError(
                f"resample: expected {what} of a floating dtype, got {array.dtype}; convert them"
            )
    if images.ndim != 4 or 0 in images.shape[1:]:
        raise ValueError(
            f"resample: expected images of shape (N, H, W, C) with pixels, got {images.shape}"
        )
    if matrices.shape != (images.shape[0], 2, 3):
        raise ValueError(
            f"resample: expected matrices of shape {(images.shape[0], 2, 3)}, got {matrices.shape}"
        )
    return images, matrices
