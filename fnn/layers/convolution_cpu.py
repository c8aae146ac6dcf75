"""The three linear maps of a convolution in the forms that are fast on a CPU.

All use canonical dimension numbers (see `convolution_plain`). Ratios of time are against what autodiff
makes of the same convolution at the top level of a program: jax 0.10, two cores, batch 128, float32.
"""

import itertools
import math
from collections.abc import Callable
from typing import TypeVar

import jax
import jax.numpy as jnp
from jax import lax

from fnn.dtypes import accumulation_dtype
from fnn.layer import Array
from fnn.layers import convolution_plain as plain
from fnn.layers.windows import Windows

Form = Callable[[Array, Array, Windows, int], Array]
Sums = TypeVar("Sums")  # a tree of arrays that add up over the batch

# Of x and dy together, from two images up: 28×28×32, 14×14×64 and 7×7×64 images have their best here,
# 0.55 to 0.6; 1 image and 32 lose. Sequences of 256×64, 256×32 and 1024×64, 0.8 to 0.9, have it here.
_CHUNK_BYTES, _CHUNK_BYTES_OF_SEQUENCES = 1 << 18, 1 << 20
# Elements of dy from which XLA shares the product between threads, if there are more than 64 channels:
# 7×7×256 0.7 with 16 images a chunk, 1.3 with 8; 14×14×128 0.6 with 8, 1.0 with 4.
_THREADED_ELEMENTS, _THREADED_CHANNELS = 1 << 17, 65
_CHUNK_IMAGES = 2
# Up to this many features, reading x costs more than the product, and vectors of 32 images are read
# faster than the transposes cost: 16 features of 28×28×16 images 0.9 instead of 2.0 with 4, of 28×28×6
# images under 5×5 weights 0.95 instead of 3.6; from 24 features on it is the other way round.
_NARROW, _NARROW_IMAGES = 16, 32
# Up to this many inputs, the turned kernel makes too narrow a matrix product for XLA's kernel.
_FEW_INPUTS = 4


def by_group(form: Form) -> Form:
    """The same map, group by group: x, w, dy and every result have the groups along their last axis.

    Against XLA's own grouped kernel, 3×3 on 28×28×32 in four groups: y and dx 0.2, dw 0.02; with 32
    groups of four channels, y and dx 0.75.
    """

    def grouped(a: Array, b: Array, windows: Windows, groups: int) -> Array:
        parts = zip(jnp.split(a, groups, axis=-1), jnp.split(b, groups, axis=-1), strict=True)
        return jnp.concatenate([form(a, b, windows, 1) for a, b in parts], axis=-1)

    return grouped


def dense_input_gradient(dy: Array, w: Array, windows: Windows, groups: int) -> Array:
    """dx of one group, by the form for its shape."""
    spread = max(windows.stride) > 1
    wider = all(k > s or s == 1 for k, s in zip(windows.window, windows.stride, strict=True))
    if w.shape[-2] <= _FEW_INPUTS:
        return _input_gradient_of_few(dy, w, windows)
    if spread and wider and max(windows.dilation) == 1:
        return _subpixel_input_gradient(dy, w, windows)
    return plain.input_gradient(dy, w, windows, groups)


def dense_kernel_gradient(x: Array, dy: Array, windows: Windows, groups: int) -> Array:
    """dw of one group: images as channels and channels as images, over a few images at a time.

    So their transposes stay in the processor's cache. 3×3: 0.5 to 0.6 on 28×28×32, on 14×14×64 and with
    stride 2, by processor. In the body of a scan, all of a step with it takes 0.02 to 0.05 of
    autodiff's time.
    """
    del groups  # one
    wide = accumulation_dtype(dy.dtype)

    def chunk(x: Array, dy: Array) -> Array:  # -> (C, h, w, F)
        return lax.conv_general_dilated(
            jnp.swapaxes(x, 0, -1),
            jnp.moveaxis(dy, 0, -2),
            window_strides=windows.dilation,
            padding=plain.kernel_padding(windows),
            rhs_dilation=windows.stride,
            dimension_numbers=plain.canonical(windows),
            preferred_element_type=wide,
        )

    size = _narrow_chunk_size(x) if dy.shape[-1] <= _NARROW else _chunk_size(x, dy)
    dw = _sum_over_chunks(chunk, lambda total: total, x, dy, size)
    return jnp.moveaxis(dw, 0, -2).astype(x.dtype)


def _input_gradient_of_few(dy: Array, w: Array, windows: Windows) -> Array:
    """What each weight sends back, as one matrix product, then laid over dx weight by weight.

    3×3 of 1 channel 0.35, of 3 channels 0.7; 5×5 of 1 channel 0.13.
    """
    wide = accumulation_dtype(dy.dtype)
    n, features, inputs = dy.shape[0], dy.shape[-1], w.shape[-2]
    sent = jnp.matmul(
        w.reshape(math.prod(windows.window) * inputs, features),
        dy.reshape(n * math.prod(windows.output), features).T,
        preferred_element_type=wide,
    ).reshape(*windows.window, inputs, n, *windows.output)
    dx = jnp.zeros((inputs, n, *windows.image), wide)
    for place in _places(windows):
        config = [(0, 0, 0), (0, 0, 0)]
        for k, size, stride, dilation, (low, _), outputs in zip(
            place, windows.image, *windows[2:], strict=True
        ):
            start = k * dilation - low
            config.append((start, size - start - (outputs - 1) * stride - 1, stride - 1))
        dx = dx + lax.pad(sent[place], jnp.zeros((), wide), config)
    return jnp.moveaxis(dx, 0, -1).astype(dy.dtype)


def _subpixel_input_gradient(dy: Array, w: Array, windows: Windows) -> Array:
    """dx of a strided convolution without the zeros between the pixels of dy (Shi et al., 2016).

    Pixel u = a s + r of x, r < s, is read under the weights i ≡ r + low (mod s) only. So for each r
    the pixels are a dense convolution of dy with every s-th weight; those are then interleaved. 3×3 on
    28×28×32 0.95, in a scan 0.6 to 0.9 of the plain form; 5×5 on 28×28×16 0.2. Where the window is no
    wider than the stride it is 1.3: nothing overlaps there.
    """
    rank = len(windows.image)
    more = tuple(-(-size // s) for size, s in zip(windows.image, windows.stride, strict=True))

    def dense(offsets: tuple[int, ...]) -> Array:
        """The pixels a s + offset, for all a."""
        every, pads = [], []
        for r, k, s, (low, _), outputs, pixels in zip(
            offsets, *windows[1:3], *windows[4:], more, strict=True
        ):
            shift, start = divmod(r + low, s)
            weights = len(range(start, k, s))
            every.append(slice(start, None, s))
            pads.append((weights - 1 - shift, pixels + shift - outputs))
        part = lax.conv_general_dilated(
            dy,
            plain.turned(w[tuple(every)], 1),
            window_strides=(1,) * rank,
            padding=pads,
            dimension_numbers=plain.canonical(windows),
            preferred_element_type=accumulation_dtype(dy.dtype),
        )
        return part.astype(dy.dtype)

    def interleaved(*offsets: int) -> Array:
        axis = len(offsets)
        if axis == rank:
            return dense(offsets)
        parts = [interleaved(*offsets, r) for r in range(windows.stride[axis])]
        return jnp.stack(parts, axis=axis + 2)

    whole = [pixels * s for pixels, s in zip(more, windows.stride, strict=True)]
    dx = interleaved().reshape(dy.shape[0], *whole, w.shape[-2])  # of (N, H / s, s, W / t, t, C)
    return dx[:, *map(slice, windows.image)]


# Depthwise: one group for each of the C inputs, with F / C outputs each. One weight of the window after
# the other is multiplied with all pixels under it, in one loop over the image. 3×3 on 28×28×64 against
# XLA's kernel: forward 0.1, dx 0.1 (0.03 with stride 2), dw 0.15.


def depthwise_convolve(x: Array, w: Array, windows: Windows, groups: int) -> Array:
    """`convolution_plain.convolve` for as many groups as channels."""
    x = plain.padded(_repeated(x, w.shape[-1] // groups), windows)
    return _multiply_add(x, w, windows).astype(x.dtype)


def depthwise_input_gradient(dy: Array, w: Array, windows: Windows, groups: int) -> Array:
    """`convolution_plain.input_gradient` for as many groups as channels."""
    spread_axes = zip(plain.spread_padding(windows), windows.stride, strict=True)
    config = [(low, high, stride - 1) for (low, high), stride in spread_axes]
    spread = lax.pad(dy, jnp.zeros((), dy.dtype), ((0, 0, 0), *config, (0, 0, 0)))
    over_dy = windows._replace(stride=(1,) * len(windows.image), output=windows.image)
    w, multiple = lax.rev(w, range(w.ndim - 2)), dy.shape[-1] // groups
    # Not one sum over a reshaped axis: XLA:CPU would compute the terms again for every one of them.
    parts = [
        _multiply_add(spread[..., k::multiple], w[..., k::multiple], over_dy)
        for k in range(multiple)
    ]
    return sum(parts[1:], parts[0]).astype(dy.dtype)


def depthwise_kernel_gradient(x: Array, dy: Array, windows: Windows, groups: int) -> Array:
    """`convolution_plain.kernel_gradient` for as many groups as channels.

    Chunks of images are added up pixel by pixel, and over the pixels once at the end.
    """
    wide = accumulation_dtype(dy.dtype)

    def chunk(x: Array, dy: Array) -> tuple[Array, ...]:  # -> h w times (n, H', W', F)
        x = plain.padded(_repeated(x, dy.shape[-1] // groups), windows)
        taps = (plain.tap(x, place, windows) for place in _places(windows))
        return tuple(pixels.astype(wide) * dy.astype(wide) for pixels in taps)

    def finish(products: tuple[Array, ...]) -> Array:
        return jnp.stack([product.sum(axis=range(product.ndim - 1)) for product in products])

    dw = _sum_over_chunks(chunk, finish, x, dy, _chunk_size(x, dy))
    return dw.reshape(*windows.window, 1, dy.shape[-1]).astype(x.dtype)


def _multiply_add(x: Array, w: Array, windows: Windows) -> Array:
    """Σ over the weights of weight times the pixels of a padded x under it; float32 at least."""
    wide = accumulation_dtype(x.dtype)
    shape = (x.shape[0], *windows.output, x.shape[-1])
    y = jnp.zeros(shape, wide)
    for place in _places(windows):
        weight = jnp.broadcast_to(w[*place, 0].astype(wide), shape)
        y = y + plain.tap(x, place, windows).astype(wide) * weight
    return y


def _repeated(x: Array, times: int) -> Array:
    return x if times == 1 else jnp.repeat(x, times, axis=-1)


def _places(windows: Windows) -> list[tuple[int, ...]]:
    return list(itertools.product(*map(range, windows.window)))


def _chunk_size(x: Array, dy: Array) -> int:
    """Images a chunk: a power of two."""
    n, image_bytes = x.shape[0], (x.size + dy.size) * dy.dtype.itemsize // max(x.shape[0], 1)
    most_bytes = _CHUNK_BYTES_OF_SEQUENCES if x.ndim == 3 else _CHUNK_BYTES
    size = _CHUNK_IMAGES
    while 2 * size <= n and 2 * size * image_bytes <= most_bytes:
        size *= 2
    if dy.shape[-1] >= _THREADED_CHANNELS:
        while 2 * size <= n and size * dy.size < _THREADED_ELEMENTS * n:
            size *= 2
    return size


def _narrow_chunk_size(x: Array) -> int:
    """The same for few features."""
    size = _CHUNK_IMAGES
    while 2 * size <= min(x.shape[0], _NARROW_IMAGES):
        size *= 2
    return size


def _sum_over_chunks(
    chunk: Callable[[Array, Array], Sums],
    finish: Callable[[Sums], Array],
    x: Array,
    dy: Array,
    size: int,
) -> Array:
    """``finish`` of the sum of ``chunk(x, dy)`` over `size` images at a time, at last maybe fewer."""
    n = x.shape[0]
    if n <= size:
        return finish(chunk(x, dy))
    chunks, rest = divmod(n, size)
    zero = jax.tree.map(
        lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), jax.eval_shape(chunk, x[:size], dy[:size])
    )

    # Sliced, not scanned over a reshaped batch: where dy is an elementwise result, XLA would compute
    # and keep it twice, once in each shape.
    def add(total: Sums, start: Array) -> tuple[Sums, None]:
        images = (lax.dynamic_slice_in_dim(a, start, size) for a in (x, dy))
        return jax.tree.map(jnp.add, total, chunk(*images)), None

    starts = jnp.arange(chunks, dtype=jnp.int32) * size
    whole = finish(lax.scan(add, zero, starts)[0])
    return whole + finish(chunk(x[-rest:], dy[-rest:])) if rest else whole
