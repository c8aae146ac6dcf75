"""Convolution of images with one, two or three axes, with its gradients by hand.

This file is the layer, dense or in groups; `convolution_depthwise` and `convolution_transposed` have its
relatives. The three maps that they are made of are in `convolution_forms`, where each shape has the form
that was measured to be the fastest.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax.numpy as jnp

from fnn.dtypes import accumulation_dtype, check_inexact, computing_dtype, parameter_dtype
from fnn.initializers import Initializer, he_normal, zeros
from fnn.layer import Array, Key, Layer, pure
from fnn.layers.convolution_forms import convolve, input_gradient, kernel_gradient
from fnn.layers.windows import (
    PaddingSetting,
    WindowSettings,
    check_images,
    on_axes,
    window_settings,
    windows_of,
)
from fnn.random import child_key


class ConvolutionParams(NamedTuple):
    """What a convolution learns; a window of (h, w), C input channels, F output channels."""

    w: Array  # (h, w, C / groups, F)
    b: Array | None  # (F,), None without a bias


class ConvolutionCache(NamedTuple):
    """What backward needs: the input, which the layer before usually holds anyway."""

    x: Array  # (N, *sizes, C)


def convolution(
    features: int,
    window: int | Sequence[int],
    *,
    stride: int | Sequence[int] = 1,
    padding: PaddingSetting = "SAME",
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
    bias: bool = True,
    kernel_init: Initializer = he_normal,
    bias_init: Initializer = zeros,
) -> Layer:
    """A window of weights laid over every place of an image, the same at each.

    The image has one axis (a sequence), two or three (a volume): as many as x brings, if all settings are
    ints, and as many as a setting has entries, if one has. The formulas are those of two.

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
    `conv_output_size` says; (N, W, C) and (w, C / groups, F) for one axis, (N, D, H, W, C) and
    (d, h, w, C / groups, F) for three. The parameters take the dtype of x; sums are taken in float32 at
    least. Cache: x. Source: LeCun et al. (1989); groups: Krizhevsky et al. (2012); dilation: Yu,
    Koltun (2016).

    Args:
      features: output channels, F.
      window: one int for all axes, or one for each: (h, w).
      stride: pixels from one place to the next, on each axis.
      padding: "SAME" for ceil(H / stride) outputs, "VALID" for none, an int for all sides, or
        (low, high) for each axis: ((top, bottom), (left, right)).
      dilation: pixels from one weight to the next.
      groups: blocks of channels.
      bias: whether b is added.
      kernel_init: draws w.
      bias_init: draws b.

    Raises:
      TypeError: x is of integers.
      ValueError: a setting is out of range, or two are for different numbers of axes; x is no batch of
        images, has channels that do not fall into `groups`, or another number of them or of axes than
        the parameters; the window does not fit.
    """
    if features < 1 or groups < 1 or features % groups:
        raise ValueError(
            "convolution: expected at least one feature and one group, and features that are a "
            f"multiple of groups, got features={features} and groups={groups}"
        )
    settings = window_settings("convolution", window, stride, padding, dilation)

    def kernel(channels: int) -> tuple[int, int]:
        if channels % groups:
            raise ValueError(
                f"convolution: expected a number of channels that is a multiple of groups={groups}, "
                f"got {channels} channels"
            )
        return channels // groups, features

    title = f"convolution({features}, {written(settings)})"
    return grouped(title, settings, kernel, lambda w: groups, bias, kernel_init, bias_init)


def grouped(
    title: str,
    settings: WindowSettings,
    kernel: Callable[[int], tuple[int, int]],
    groups_of: Callable[[Array], int],
    bias: bool,
    kernel_init: Initializer,
    bias_init: Initializer,
) -> Layer:
    """The layer of `convolution` and `depthwise_convolution`.

    Args:
      title: the layer's name.
      settings: of its windows.
      kernel: the last two axes of w for a number of channels.
      groups_of: the number of groups for a w.
      bias: whether b is added.
      kernel_init: draws w.
      bias_init: draws b.
    """

    def init(key: Key, x: Array) -> ConvolutionParams:
        check_images(x, settings, None, None)
        dtype, channels, rank = parameter_dtype(x), x.shape[-1], x.ndim - 2
        windows_of(settings, x.shape[1:-1])  # whether one fits
        inputs, outputs = kernel(channels)
        shape = (*on_axes(settings.window, rank), inputs, outputs)
        w = kernel_init(child_key(key, "w"), shape, dtype, groups=channels // inputs)
        b = bias_init(child_key(key, "b"), (outputs,), dtype) if bias else None
        return ConvolutionParams(w, b)

    def forward(params: ConvolutionParams, x: Array) -> tuple[Array, ConvolutionCache]:
        w, b = params
        groups = groups_of(w)
        check_images(x, settings, w.shape[-2] * groups, w.ndim - 2)
        check_inexact(x)
        dtype = computing_dtype(x, w, b)
        windows = windows_of(settings, x.shape[1:-1])
        y = convolve(x.astype(dtype), w.astype(dtype), windows, groups)
        return with_bias(y, b).astype(x.dtype), ConvolutionCache(x)

    def backward(
        params: ConvolutionParams, cache: ConvolutionCache, dy: Array
    ) -> tuple[ConvolutionParams, Array]:
        x, (w, b) = cache.x, params
        groups, windows = groups_of(w), windows_of(settings, x.shape[1:-1])
        dtype = computing_dtype(x, w, b)
        dy = dy.astype(dtype)
        dx = input_gradient(dy, w.astype(dtype), windows, groups)
        dw = kernel_gradient(x.astype(dtype), dy, windows, groups)
        return ConvolutionParams(dw.astype(w.dtype), bias_gradient(dy, b)), dx.astype(x.dtype)

    return pure(title, forward, backward, init)


def with_bias(y: Array, b: Array | None) -> Array:
    """``y + b``, of y's dtype."""
    return y if b is None else y + jnp.broadcast_to(b.astype(y.dtype), y.shape)


def bias_gradient(dy: Array, b: Array | None) -> Array | None:
    """``Σ dy`` over everything but the channels.

    A plain sum: the product with a row of ones takes 1.0 to 1.8 times as long here.
    """
    if b is None:
        return None
    wide = accumulation_dtype(dy.dtype)
    return dy.sum(axis=range(dy.ndim - 1), dtype=wide).astype(b.dtype)


def written(settings: WindowSettings) -> str:
    """A window as layers are named after it: ``3``, for any number of axes, or ``3x5``."""
    window = settings.window
    return str(window) if isinstance(window, int) else "x".join(map(str, window))
