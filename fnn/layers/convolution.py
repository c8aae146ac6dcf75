"""Two-dimensional convolution, with its gradients by hand.

This file is the layer. The three maps that it is made of are in `convolution_forms`, where each shape
has the form that was measured to be the fastest.
"""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from fnn.dtypes import accumulation_dtype, check_inexact, computing_dtype, parameter_dtype
from fnn.initializers import Initializer, he_normal, zeros
from fnn.layer import Array, Key, Layer, pure
from fnn.layers.convolution_forms import convolve, input_gradient, kernel_gradient
from fnn.layers.windows import (
    PaddingSetting,
    Pair,
    Windows,
    axis_padding,
    checked_padding,
    output_size,
    pair,
    windows_on,
)
from fnn.random import child_key


class ConvolutionParams(NamedTuple):
    """What a convolution learns; a window of (h, w), C input channels, F output channels."""

    w: Array  # (h, w, C / groups, F)
    b: Array | None  # (F,), None without a bias


class ConvolutionCache(NamedTuple):
    """What backward needs: the input, which the layer before usually holds anyway."""

    x: Array  # (N, H, W, C)


def convolution(
    features: int,
    window: int | Pair,
    *,
    stride: int | Pair = 1,
    padding: PaddingSetting = "SAME",
    dilation: int | Pair = 1,
    groups: int = 1,
    bias: bool = True,
    kernel_init: Initializer = he_normal,
    bias_init: Initializer = zeros,
) -> Layer:
    """A window of weights laid over every place of an image, the same at each.

    Forward, with stride s, dilation d, and p pixels of zeros put before the first row and column:

        y[n, o, q, f] = b[f] + Σ_{i,j,c} x[n, o s - p + i d, q s - p + j d, c] w[i, j, c, f]

    Backward. An input pixel collects from every output that read it, which is a convolution of dy,
    spread apart by s, with the kernel turned around and its channels exchanged; a weight collects
    from every place it was laid on, which is a correlation of x with dy:

        dx[n, u, v, c] = Σ_{i,j,f} dy[n, o, q, f] w[i, j, c, f],  o s - p + i d = u, q s - p + j d = v
        dw[i, j, c, f] = Σ_{n,o,q} x[n, o s - p + i d, q s - p + j d, c] dy[n, o, q, f]
        db[f] = Σ_{n,o,q} dy[n, o, q, f]

    With `groups`, the input and output channels fall into as many equal blocks, and each output block
    sees its input block only; as many groups as channels is the depthwise convolution.

    Shapes: x (N, H, W, C), w (h, w, C / groups, F), b (F,), y (N, H', W', F) with H', W' as
    `convolution_output_size` says. The parameters take the dtype of x; sums are taken in float32 at
    least. Cache: x. Source: LeCun et al. (1989); groups: Krizhevsky et al. (2012); dilation: Yu,
    Koltun (2016).

    Args:
      features: output channels, F.
      window: (h, w), or one int for both.
      stride: pixels from one place to the next, vertically and horizontally.
      padding: "SAME" for ceil(H / stride) outputs, "VALID" for none, an int for all four sides, or
        ((top, bottom), (left, right)).
      dilation: pixels from one weight to the next.
      groups: blocks of channels.
      bias: whether b is added.
      kernel_init: draws w.
      bias_init: draws b.

    Raises:
      TypeError: x is of integers.
      ValueError: a setting is out of range; x is no batch of images, has channels that do not fall
        into `groups`, or another number of them than the parameters; the window does not fit.
    """
    if features < 1 or groups < 1 or features % groups:
        raise ValueError(
            "convolution: expected at least one feature and one group, and features that are a "
            f"multiple of groups, got features={features} and groups={groups}"
        )
    size = pair(window, "a window", "convolution")
    strides = pair(stride, "a stride", "convolution")
    dilations = pair(dilation, "a dilation", "convolution")
    pads = checked_padding(padding, "convolution")

    def windows(x: Array) -> Windows:
        return windows_on(x.shape[1:3], size, strides, pads, dilations, "convolution")

    def init(key: Key, x: Array) -> ConvolutionParams:
        if x.ndim != 4:
            raise ValueError(f"convolution: expected x of shape (N, H, W, C), got {x.shape}")
        channels = x.shape[-1]
        if channels < 1 or channels % groups:
            raise ValueError(
                f"convolution: expected a number of channels that is a multiple of groups={groups}, "
                f"got {channels} channels in x of shape {x.shape}"
            )
        windows(x)  # whether one fits
        dtype = parameter_dtype(x)
        w = kernel_init(
            child_key(key, "w"), (*size, channels // groups, features), dtype, groups=groups
        )
        b = bias_init(child_key(key, "b"), (features,), dtype) if bias else None
        return ConvolutionParams(w, b)

    def forward(params: ConvolutionParams, x: Array) -> tuple[Array, ConvolutionCache]:
        channels = params.w.shape[2] * groups
        if x.ndim != 4 or x.shape[-1] != channels:
            raise ValueError(
                f"convolution: expected x of shape (N, H, W, {channels}), got {x.shape}"
            )
        check_inexact(x)
        dtype = computing_dtype(x, *params)
        y = convolve(x.astype(dtype), params.w.astype(dtype), windows(x), groups)
        if params.b is not None:
            y = y + jnp.broadcast_to(params.b.astype(dtype), y.shape)
        return y.astype(x.dtype), ConvolutionCache(x)

    def backward(
        params: ConvolutionParams, cache: ConvolutionCache, dy: Array
    ) -> tuple[ConvolutionParams, Array]:
        x, (w, b) = cache.x, params
        dtype = computing_dtype(x, w, b)
        dy = dy.astype(dtype)
        dx = input_gradient(dy, w.astype(dtype), windows(x), groups)
        dw = kernel_gradient(x.astype(dtype), dy, windows(x), groups)
        # A plain sum: the product with a row of ones takes 1.0 to 1.8 times as long here.
        wide = accumulation_dtype(dtype)
        db = None if b is None else dy.sum(axis=(0, 1, 2), dtype=wide).astype(b.dtype)
        return ConvolutionParams(dw.astype(w.dtype), db), dx.astype(x.dtype)

    return pure(f"convolution({features}, {size[0]}x{size[1]})", forward, backward, init)


def convolution_output_size(
    size: int,
    window: int,
    stride: int = 1,
    padding: str | int | Pair = 0,
    dilation: int = 1,
) -> int:
    """How many places a window has on one axis: ``(size + pads - reach) // stride + 1``.

    The reach of a window is ``(window - 1) · dilation + 1``. Where the stride does not divide, the
    division is rounded down: the pixels after the last whole window are not read.

    Args:
      size: pixels on the axis.
      window: weights on the axis.
      stride: pixels from one place to the next.
      padding: "SAME", "VALID", the zeros on either side, or (low, high).
      dilation: pixels from one weight to the next.

    Raises:
      ValueError: a setting is out of range, or the window does not fit.
    """
    name = "convolution_output_size"
    window, stride = pair((window, stride), "a window and a stride", name)
    dilation, _ = pair(dilation, "a dilation", name)
    one_axis = isinstance(padding, str) or np.ndim(padding) == 0
    checked = checked_padding(padding if one_axis else (padding, padding), name)
    of_axis = checked if isinstance(checked, str) else checked[0]
    pads = axis_padding(size, window, stride, of_axis, dilation)
    return output_size(size, window, stride, pads, dilation, name)
