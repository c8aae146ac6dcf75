"""Max pooling over large windows, axis by axis.

`pooling` compares the pixels of a window one after the other, in one loop over the image in which XLA
has to compile each of them. Here the best pixel of a part of a row is found once for all windows that
hold it, and on either axis

    the best of 2k pixels from p = the better of (k pixels from p, k pixels from p + k)

so that a window takes log₂ of its length in steps. Of equal ones the left and the upper is the better:
that is the first of the window, row by row, which is the first of the first row that has the maximum.
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax

from fnn.dtypes import accumulation_dtype
from fnn.layer import Array
from fnn.layers.windows import Windows, on_axis

Combine = Callable[[Array, Array], Array]

_ROWS, _COLUMNS = 1, 2  # the axes of images (N, H, W, C)


@functools.partial(jax.jit, static_argnames="windows")
def largest(x: Array, windows: Windows) -> tuple[Array, Array]:
    """(y, place): the maximum of each window, and where in it, row by row, in int32."""
    of_rows = _best((x,), _COLUMNS, windows)
    y, column, row = _best(of_rows, _ROWS, windows)
    return y, row * windows.window[1] + column


@functools.partial(jax.jit, static_argnames="windows")
def spread(dy: Array, place: Array, windows: Windows) -> Array:
    """dx: dy at the places taken, added up over the windows above each other, then over those abreast.

    Windows above each other that take a pixel of one row take the same one, the best that they have
    in that row; so between the two sums every row knows its column.
    """
    row, column = jnp.divmod(place.astype(jnp.int32), windows.window[1])
    wide = dy.astype(accumulation_dtype(dy.dtype))
    by_row = _collected(wide, row, jnp.add, _ROWS, windows)
    column_by_row = _collected(column, row, jnp.maximum, _ROWS, windows)
    return _collected(by_row, column_by_row, jnp.add, _COLUMNS, windows).astype(dy.dtype)


def _best(of: tuple[Array, ...], axis: int, windows: Windows) -> tuple[Array, ...]:
    """In each window on one axis: the largest of the first array, what the others have there, where."""
    size, window, stride, _, (low, high), outputs = on_axis(windows, axis - _ROWS)
    pads = [(0, 0)] * of[0].ndim
    pads[axis] = (low, high)
    padded = tuple(jnp.pad(a, pads) for a in of)
    runs = (*padded, jnp.zeros(padded[0].shape, jnp.int32))
    length = 1

    def is_pixel(place: Array) -> Array:
        position = lax.broadcasted_iota(jnp.int32, place.shape, axis) + place
        return (position >= low) & (position < low + size)

    while length < window:
        shift = min(length, window - length)  # the last two runs may overlap, in pixels that agree
        count = low + size + high - length - shift + 1
        left = tuple(lax.slice_in_dim(a, 0, count, axis=axis) for a in runs)
        right = tuple(lax.slice_in_dim(a, shift, shift + count, axis=axis) for a in runs)
        right = (*right[:-1], right[-1] + shift)
        # Selected, not `jnp.maximum`: autodiff of that gives each of two equals one half.
        better = (right[0] > left[0]) | (jnp.isnan(right[0]) & ~jnp.isnan(left[0]))
        if low or high:  # padding is worse than a pixel, though that were -inf
            better = is_pixel(right[-1]) & (better | ~is_pixel(left[-1]))
        runs = tuple(jnp.where(better, b, a) for a, b in zip(left, right, strict=True))
        length += shift
    last = (outputs - 1) * stride + 1
    return tuple(lax.slice_in_dim(a, 0, last, stride, axis) for a in runs)


def _collected(of: Array, place: Array, combine: Combine, axis: int, windows: Windows) -> Array:
    """For each pixel on one axis, what the windows that took it hold, combined; 0 where none did.

    Pixel a s + r, r < s, lies at place r of window a, at place r + s of window a - 1, and so on.
    """
    size, window, stride, _, (low, high), outputs = on_axis(windows, axis - _ROWS)
    blocks, shifts = -(-(low + size + high) // stride), -(-window // stride)
    pads = [(0, 0)] * of.ndim
    pads[axis] = (shifts - 1, max(blocks - outputs, 0))
    of, place = (jnp.expand_dims(jnp.pad(a, pads), axis + 1) for a in (of, place))
    shape = [*of.shape]
    shape[axis : axis + 2] = blocks, stride
    offset = lax.broadcasted_iota(jnp.int32, shape, axis + 1)
    total = jnp.zeros(shape, of.dtype)
    for shift in range(shifts):
        begin = shifts - 1 - shift
        held, taken = (
            jnp.broadcast_to(lax.slice_in_dim(a, begin, begin + blocks, axis=axis), shape)
            for a in (of, place)
        )
        total = combine(total, jnp.where(taken == offset + shift * stride, held, 0))
    shape[axis : axis + 2] = [blocks * stride]
    return lax.slice_in_dim(total.reshape(shape), low, low + size, axis=axis)
