"""Sums over windows, axis by axis, and their transpose.

Both are sums of runs, which are made by doubling: the sum of 2k pixels from p is the sum of k from p and
of k from p + k, so that a window of F pixels takes about 2 log₂ F additions on an axis. Nothing is
subtracted again, as running totals would, so an inf or a NaN stays in its own windows.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from fnn.dtypes import accumulation_dtype
from fnn.layer import Array
from fnn.layers.windows import Axis, Windows, on_axis

# Pixels from which windows that tile an axis are summed by one reduction, and not by runs.
_LONG = 16

# Pixels up to which a window is summed one by one: then it is the few pixels that are padded, not x.
_SHORT = 4


# Both are jitted, so that a call outside of any `jit` compiles once a shape, not once an operation.
@functools.partial(jax.jit, static_argnames="windows")
def window_sums(x: Array, windows: Windows) -> Array:
    """(N, …, C) -> the sum of every window, in at least float32; padding counts as 0."""
    sums = x.astype(accumulation_dtype(x.dtype))
    for axis in range(len(windows.image)):
        sums = axis_sums(sums, axis + 1, on_axis(windows, axis))
    return sums


@functools.partial(jax.jit, static_argnames="windows")
def spread_sums(dy: Array, windows: Windows) -> Array:
    """The transpose of `window_sums`: each pixel gets the sum of dy over the windows that hold it."""
    dx = dy.astype(accumulation_dtype(dy.dtype))
    for axis in range(len(windows.image)):
        dx = spread_on_axis(dx, axis + 1, on_axis(windows, axis))
    return dx


def pixel_counts(windows: Windows) -> np.ndarray:
    """(1, …, 1): how many pixels of the image, without padding, each window holds."""
    counts = np.ones((1,) * (len(windows.image) + 2))
    for axis in range(len(windows.image)):
        size, window, stride, _, (low, _), outputs = on_axis(windows, axis)
        start = stride * np.arange(outputs) - low
        held = np.minimum(start + window, size) - np.maximum(start, 0)
        counts = counts * np.expand_dims(held, [a for a in range(counts.ndim) if a != axis + 1])
    return counts


def axis_sums(x: Array, axis: int, on: Axis) -> Array:
    """The sum of every window on one axis of x."""
    _, window, stride, _, (low, high), outputs = on
    if window == stride and window >= _LONG and low == high == 0:
        tiled = lax.slice_in_dim(x, 0, outputs * stride, axis=axis)
        return tiled.reshape(*x.shape[:axis], outputs, window, *x.shape[axis + 1 :]).sum(axis + 1)
    if window <= _SHORT:
        return functools.reduce(jnp.add, [_pixels(x, axis, on, i) for i in range(window)])
    if low or high:
        pads = [(0, 0)] * x.ndim
        pads[axis] = (low, high)
        x = jnp.pad(x, pads)
    return _run_sums(x, axis, window, stride, outputs)


def _pixels(x: Array, axis: int, on: Axis, i: int) -> Array:
    """The i-th pixel of every window; 0 where that is padding."""
    size, _, stride, _, (low, _), outputs = on
    first = max(0, -(-(low - i) // stride))
    last = min(outputs - 1, (size - 1 + low - i) // stride)
    if last < first:  # of no window is it a pixel of x
        return jnp.zeros((*x.shape[:axis], outputs, *x.shape[axis + 1 :]), x.dtype)
    start, stop = first * stride + i - low, last * stride + i - low + 1
    pixels = lax.slice_in_dim(x, start, stop, stride, axis)
    pads = [(0, 0)] * x.ndim
    pads[axis] = (first, outputs - 1 - last)
    return jnp.pad(pixels, pads)


def _run_sums(x: Array, axis: int, window: int, stride: int, outputs: int) -> Array:
    """Output o is the sum of `window` elements from the (o · stride)-th."""
    runs, length, begin, parts = x, 1, 0, []
    last = (outputs - 1) * stride + 1
    while True:
        if window & length:  # the window's length in binary says which runs it is made of
            parts.append(lax.slice_in_dim(runs, begin, begin + last, stride, axis))
            begin += length
        if 2 * length > window:
            break
        count = runs.shape[axis] - length
        left, right = (lax.slice_in_dim(runs, i, i + count, axis=axis) for i in (0, length))
        runs, length = left + right, 2 * length
    return functools.reduce(jnp.add, parts)


def spread_on_axis(dy: Array, axis: int, on: Axis) -> Array:
    """The transpose of `axis_sums`.

    Pixel a s + r, r < s, lies in windows a, a - 1, … a - ⌊F/s⌋ + 1, and in one more if r < F mod s.
    """
    size, window, stride, _, (low, high), outputs = on
    blocks = -(-(low + size + high) // stride)
    full, partial = divmod(window, stride)

    def framed(before: int) -> Array:
        pads = [(0, 0)] * dy.ndim
        pads[axis] = (before, max(blocks - outputs, 0))
        return jnp.pad(dy, pads)

    shape = (*dy.shape[:axis], blocks, stride, *dy.shape[axis + 1 :])
    dx = jnp.zeros(shape, dy.dtype)
    if full:
        held = _run_sums(framed(full - 1), axis, full, 1, blocks)
        dx = jnp.broadcast_to(jnp.expand_dims(held, axis + 1), shape)
    if partial:
        more = lax.slice_in_dim(framed(full), 0, blocks, axis=axis)
        more = jnp.broadcast_to(jnp.expand_dims(more, axis + 1), shape)
        offset = lax.broadcasted_iota(jnp.int32, shape, axis + 1)
        dx = dx + jnp.where(offset < partial, more, 0)
    flat = dx.reshape(*dy.shape[:axis], blocks * stride, *dy.shape[axis + 1 :])
    return lax.slice_in_dim(flat, low, low + size, axis=axis)
