"""The three linear maps of a convolution, each as one `lax.conv_general_dilated`.

This is the formula in its shortest form, right on every platform and the form that the libraries of
accelerators expect; `convolution_cpu` has the forms that are faster on a CPU. All sums are taken in
float32 at least, and the result has the dtype of the first argument. Shapes are those of images with two
axes; with one or three, H, W and h, w stand for these.
"""

import jax.numpy as jnp
from jax import lax

from fnn.dtypes import accumulation_dtype
from fnn.layer import Array
from fnn.layers.windows import Pair, Windows

# XLA:CPU puts other orders into this one at the top level of a program only. In the body of a `scan`
# they fall to a scalar loop, 20 to 170 times slower; both gradients that autodiff writes are such.
_SPATIAL = {1: "W", 2: "HW", 3: "DHW"}


def canonical(windows: Windows) -> tuple[str, str, str]:
    """The order of axes that is quick everywhere: NHWC, HWIO, NHWC for images of two axes."""
    axes = _SPATIAL[len(windows.image)]
    return f"N{axes}C", f"{axes}IO", f"N{axes}C"


def convolve(x: Array, w: Array, windows: Windows, groups: int) -> Array:
    """(N, H, W, C), (h, w, C / groups, F) -> y (N, H', W', F)."""
    y = lax.conv_general_dilated(
        x,
        w,
        window_strides=windows.stride,
        padding=windows.padding,
        rhs_dilation=windows.dilation,
        dimension_numbers=canonical(windows),
        feature_group_count=groups,
        preferred_element_type=accumulation_dtype(x.dtype),
    )
    return y.astype(x.dtype)


def input_gradient(dy: Array, w: Array, windows: Windows, groups: int) -> Array:
    """(N, H', W', F), (h, w, C / groups, F) -> dx (N, H, W, C), the transpose of `convolve` in x.

    A convolution of dy, its pixels spread apart by the stride, with the turned kernel.
    """
    dx = lax.conv_general_dilated(
        dy,
        turned(w, groups),
        window_strides=(1,) * len(windows.image),
        padding=spread_padding(windows),
        lhs_dilation=windows.stride,
        rhs_dilation=windows.dilation,
        dimension_numbers=canonical(windows),
        feature_group_count=groups,
        preferred_element_type=accumulation_dtype(dy.dtype),
    )
    return dx.astype(dy.dtype)


def kernel_gradient(x: Array, dy: Array, windows: Windows, groups: int) -> Array:
    """(N, H, W, C), (N, H', W', F) -> dw (h, w, C / groups, F), the transpose of `convolve` in w.

    A correlation of x with dy that takes images for channels: the dilation of the one is the stride
    of the other.
    """
    axes = _SPATIAL[len(windows.image)]
    dw = lax.conv_general_dilated(
        x,
        dy,
        window_strides=windows.dilation,
        padding=kernel_padding(windows),
        rhs_dilation=windows.stride,
        dimension_numbers=(f"C{axes}N", f"I{axes}O", f"{axes}NC"),
        batch_group_count=groups,
        preferred_element_type=accumulation_dtype(dy.dtype),
    )
    return dw.astype(x.dtype)


def turned(w: Array, groups: int) -> Array:
    """(h, w, C / groups, F) -> (h, w, F / groups, C): turned by 180°, channels exchanged by group."""
    return lax.rev(exchanged(w, groups), range(w.ndim - 2))


def exchanged(w: Array, groups: int) -> Array:
    """(h, w, C / groups, F) -> (h, w, F / groups, C): inputs and outputs exchanged in every group."""
    *window, inputs, features = w.shape
    grouped = w.reshape(*window, inputs, groups, features // groups)
    return jnp.swapaxes(grouped, -3, -1).reshape(*window, features // groups, groups * inputs)


def spread_padding(windows: Windows) -> list[Pair]:
    """Of dy spread apart by the stride, so that its windows at stride 1 are the pixels of x."""
    pads = []
    for size, window, stride, dilation, (low, _), outputs in zip(*windows, strict=True):
        reach = (window - 1) * dilation + 1
        pads.append((reach - 1 - low, size - 1 - (outputs - 1) * stride + low))
    return pads


def kernel_padding(windows: Windows) -> list[Pair]:
    """Of x, so that dy spread apart by the stride has one place for each weight."""
    pads = []
    for size, window, stride, dilation, (low, _), outputs in zip(*windows, strict=True):
        pads.append((low, (window - 1) * dilation + (outputs - 1) * stride + 1 - size - low))
    return pads


def padded(x: Array, windows: Windows) -> Array:
    """X with its zeros around it."""
    return jnp.pad(x, ((0, 0), *windows.padding, (0, 0)))


def tap(x: Array, place: tuple[int, ...], windows: Windows) -> Array:
    """The pixels of a padded x that lie under the weight at `place`: one for each output."""
    axes = zip(place, windows.stride, windows.dilation, windows.output, strict=True)
    spans = [slice(k * d, k * d + (outputs - 1) * s + 1, s) for k, s, d, outputs in axes]
    return x[:, *spans]
