"""Max pooling, with the place of each maximum as its cache."""

import functools
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from fnn.dtypes import accumulation_dtype, parameter_dtype
from fnn.layer import Array, Layer, Static, pure
from fnn.layers import pooling_large
from fnn.layers.pooling_settings import pool_name, pool_settings, pool_windows
from fnn.layers.windows import Axis, PaddingSetting, Sizes, Windows, on_axis

# Pixels of a window, and windows over a pixel, up to which one loop that compares them all is used;
# above, `pooling_large`. Large / small on 32 images of 28×28×32: 7×7 at stride 1 compiles in 1.2 and
# runs forward and backward in 0.4 and 0.9 of the time, 14×14 in 0.2, 0.25 and 0.03. Without overlap
# the large form's forward takes 2 to 3 times as long (14×14: 1 ms), but 1.5 s to compile instead of 6.
_MOST_COMPARED = 64


class MaxPoolCache(NamedTuple):
    """Which pixel of each window was taken, and where the windows lie."""

    # (…, *outputs, C), uint8 for windows of at most 255 pixels, else int32; row by row. On three axes
    # two: (N D, H', W', C) in each slice, then (N, D', H' W', C), the slice.
    places: tuple[Array, ...]
    windows: Static[Windows]
    dtype: Static[Any]  # of x


def max_pool(
    window: int | Sizes, *, stride: int | Sizes | None = None, padding: PaddingSetting = "VALID"
) -> Layer:
    """The largest pixel of each window, channel by channel, on one, two or three spatial axes.

    Forward, on two: ``y[n, o, q, c] = max_{i,j} x[n, o s - p + i, q s - p + j, c]``, with stride s and p
    pixels of -inf before the first. Backward: dy goes to the pixel that was taken, and adds up where
    windows overlap; others get 0.

    Subgradient: of several pixels that are the largest, the first one of the window, row by row, is
    taken, as in `jax.lax.reduce_window`'s derivative. Padding is never taken: of pixels that are all
    -inf the first one is, where that derivative may give dy to the padding, so that it is lost. A NaN
    is larger than any number, and the first one is taken, so a NaN in x is a NaN in y.

    Shapes: x (N, *spatial, C), y (N, *outputs, C), where ``W' = (W + pads - window) // stride + 1``.
    Cache: the place of each maximum, one byte an output, or four for windows of more than 255 pixels
    (the values are not kept); on three axes that of each maximum of a slice, and which slice it was.
    Source: Zhou, Chellappa (1988); Ranzato et al. (2007).

    Args:
      window: one int for every axis, or one for each, such as (h, w).
      stride: pixels from one window to the next; that of None is the window.
      padding: "VALID" for none, "SAME" for ceil(size / stride) outputs, an int, or (low, high) for each
        axis, such as ((top, bottom), (left, right)); each smaller than the window.

    Raises:
      TypeError: x is not of real floats.
      ValueError: a setting is out of range, x is no batch of images, or the window does not fit.
    """
    settings = pool_settings("max_pool", window, stride, padding)

    def forward(params: tuple[()], x: Array) -> tuple[Array, MaxPoolCache]:
        del params  # there are none
        windows = pool_windows(settings, x)
        parameter_dtype(x)  # -inf is needed, and a direction
        y, places = window_maxima(x, windows)
        return y, MaxPoolCache(places, Static(windows), Static(x.dtype))

    def backward(params: tuple[()], cache: MaxPoolCache, dy: Array) -> tuple[tuple[()], Array]:
        dy = dy.astype(cache.dtype.value)
        return params, spread_to_places(dy, cache.places, cache.windows.value)

    return pure(pool_name(settings), forward, backward)


def window_maxima(x: Array, windows: Windows) -> tuple[Array, tuple[Array, ...]]:
    """The maximum of each window, and the places taken, of each stage."""
    y, places = x, []
    for stage in _stages(windows):
        few = math.prod(stage.window) <= _MOST_COMPARED
        y = y.reshape(-1, *stage.image, x.shape[-1])
        y, place = (_largest if few else pooling_large.largest)(y, stage)
        places.append(place.astype(_place_dtype(stage.window)))
    return y.reshape(x.shape[0], *windows.output, x.shape[-1]), tuple(places)


def spread_to_places(dy: Array, places: tuple[Array, ...], windows: Windows) -> Array:
    """The transpose: dy at the pixels that were taken."""
    dx = dy
    for stage, place in zip(reversed(_stages(windows)), reversed(places), strict=True):
        over_a_pixel = math.prod(
            -(-w // s) for w, s in zip(stage.window, stage.stride, strict=True)
        )
        spread = _spread if over_a_pixel <= _MOST_COMPARED else pooling_large.spread
        dx = spread(dx.reshape(-1, *stage.output, dy.shape[-1]), place, stage)
    return dx.reshape(dy.shape[0], *windows.image, dy.shape[-1])


def _stages(windows: Windows) -> tuple[Windows, ...]:
    """Poolings of two axes that make one of any number, with the same pixel taken.

    On three axes: each slice first, then the best of the slices. The first of equal pixels in the first
    of equal slices is the first of the window.
    """
    rank = len(windows.image)
    if rank == 2:
        return (windows,)
    if rank == 1:
        return (_plane(on_axis(windows, 0), 1),)
    image, window, stride, dilation, padding, output = windows
    slices = Windows(image[1:], window[1:], stride[1:], dilation[1:], padding[1:], output[1:])
    return slices, _plane(on_axis(windows, 0), math.prod(slices.output))


def _plane(on: Axis, beside: int) -> Windows:
    """Windows on the first axis of two, of which the other has `beside` pixels."""
    return Windows(
        (on.image, beside), (on.window, 1), (on.stride, 1), (on.dilation, 1),
        (on.padding, (0, 0)), (on.output, beside),
    )  # fmt: skip


def _place_dtype(window: Sizes) -> Any:
    """One that also holds the number of pixels, which is the place of none."""
    return jnp.uint8 if math.prod(window) <= 255 else jnp.int32


# Both are jitted, so that a call outside of any `jit` compiles once a shape, not once an operation.
@functools.partial(jax.jit, static_argnames="windows")
def _largest(x: Array, windows: Windows) -> tuple[Array, Array]:
    """(y, place), by comparing the window's pixels one after the other.

    Selected, not `jnp.maximum`: autodiff of that gives each of two equals one half.
    """
    (h, width), (s, t), (rows, columns) = windows.window, windows.stride, windows.output
    padded = jnp.pad(x, ((0, 0), *windows.padding, (0, 0)), constant_values=-jnp.inf)
    first = _first_pixel(windows)
    dtype = _place_dtype(windows.window)
    y = padded[:, : (rows - 1) * s + 1 : s, : (columns - 1) * t + 1 : t]
    place = jnp.zeros(y.shape, dtype)
    for k in range(1, h * width):
        i, j = divmod(k, width)
        v = padded[:, i : i + (rows - 1) * s + 1 : s, j : j + (columns - 1) * t + 1 : t]
        larger = (v > y) | (jnp.isnan(v) & ~jnp.isnan(y))
        if (first == k).any():  # a pixel of x goes before the padding, though it were -inf itself
            larger |= jnp.broadcast_to((first == k)[None, :, :, None], larger.shape)
        y = jnp.where(larger, v, y)
        place = jnp.where(larger, jnp.asarray(k, dtype), place)
    return y, place


def _first_pixel(windows: Windows) -> np.ndarray:
    """(H', W'): the first place of each window that is a pixel of x and not padding."""
    starts = [
        np.maximum(low - stride * np.arange(outputs), 0)
        for (low, _), stride, outputs in zip(
            windows.padding, windows.stride, windows.output, strict=True
        )
    ]
    return starts[0][:, None] * windows.window[1] + starts[1][None, :]


@functools.partial(jax.jit, static_argnames="windows")
def _spread(dy: Array, place: Array, windows: Windows) -> Array:
    """dx, without a scatter: every pixel asks each window that holds it whether it was the one.

    Pixel u of the padded image is a s + r with r < s. It lies at place r of window a, at place r + s of
    window a - 1, and so on. So with the axis as blocks (a, r), dx is a sum over a few shifts of dy, each
    compared with one place for each r: one loop, for overlapping windows or not. Forward and backward
    take 0.05 to 0.12 of the time of `reduce_window` and its autodiff (select and scatter) on a CPU.
    """
    (h, width), (s, t), (rows, columns) = windows.window, windows.stride, windows.output
    (top, bottom), (left, right) = windows.padding
    (height, length), n, channels = windows.image, dy.shape[0], dy.shape[-1]
    blocks = -(-(top + height + bottom) // s), -(-(left + length + right) // t)
    shifts = -(-h // s), -(-width // t)
    r = np.arange(s).reshape(1, 1, s, 1, 1, 1)
    q = np.arange(t).reshape(1, 1, 1, 1, t, 1)

    def framed(a: Array) -> Array:
        """Windows before the first and after the last, which take nothing: their dy is 0."""
        vertical = shifts[0] - 1, max(blocks[0] - rows, 0)
        horizontal = shifts[1] - 1, max(blocks[1] - columns, 0)
        return jnp.pad(a, ((0, 0), vertical, horizontal, (0, 0)))

    dy_framed, place_framed = framed(dy), framed(place)
    wide = accumulation_dtype(dy.dtype)
    dx = jnp.zeros((n, blocks[0], s, blocks[1], t, channels), wide)
    for a in range(shifts[0]):
        for b in range(shifts[1]):
            top_window, left_window = shifts[0] - 1 - a, shifts[1] - 1 - b
            of_blocks = np.s_[
                :,
                top_window : top_window + blocks[0],
                None,
                left_window : left_window + blocks[1],
                None,
            ]
            i, j = r + a * s, q + b * t
            asked = np.where((i < h) & (j < width), i * width + j, h * width)
            taken = place_framed[of_blocks] == asked.astype(place.dtype)
            dx = dx + jnp.where(taken, dy_framed[of_blocks].astype(wide), 0)
    dx = dx.reshape(n, blocks[0] * s, blocks[1] * t, channels).astype(dy.dtype)
    return lax.slice(dx, (0, top, left, 0), (n, top + height, left + length, channels))
