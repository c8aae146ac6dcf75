"""The transposed convolution: a convolution's input gradient as a layer, which makes images larger."""

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from fnn.dtypes import check_inexact, computing_dtype, parameter_dtype
from fnn.initializers import Initializer, he_normal, zeros
from fnn.layer import Array, Key, Layer, pure
from fnn.layers.convolution import (
    ConvolutionCache,
    ConvolutionParams,
    bias_gradient,
    with_bias,
    written,
)
from fnn.layers.convolution_forms import convolve, input_gradient, kernel_gradient
from fnn.layers.convolution_plain import exchanged
from fnn.layers.windows import (
    PaddingSetting,
    Sizes,
    Windows,
    WindowSettings,
    axis_padding,
    check_images,
    int_or_sizes,
    on_axes,
    window_settings,
)
from fnn.random import child_key


def transposed_convolution(
    features: int,
    window: int | Sequence[int],
    *,
    stride: int | Sequence[int] = 1,
    padding: PaddingSetting = "SAME",
    output_padding: int | Sequence[int] = 0,
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
    bias: bool = True,
    kernel_init: Initializer = he_normal,
    bias_init: Initializer = zeros,
) -> Layer:
    """Every pixel writes a window of weights, times its value, into a larger image, where they add up.

    This is what a `convolution` with the same settings does to dy in its backward pass: its transpose,
    not its inverse ("deconvolution" is a misnomer). Settings are for one axis, two or three, as there.

    Forward, with stride s, dilation d, and p the rows and columns that are cut off before the first:

        y[n, u, v, f] = b[f] + Σ_{i,j,c} x[n, o, q, c] w[i, j, c, f]   with o s - p + i d = u
                                                                       and  q s - p + j d = v

    Backward. The transpose of the transpose is the convolution itself:

        dx[n, o, q, c] = Σ_{i,j,f} dy[n, o s - p + i d, q s - p + j d, f] w[i, j, c, f]
        dw[i, j, c, f] = Σ_{n,o,q} x[n, o, q, c] dy[n, o s - p + i d, q s - p + j d, f]
        db[f] = Σ_{n,u,v} dy[n, u, v, f]

    Shapes: x (N, H, W, C), w (h, w, C / groups, F), b (F,), y (N, H', W', F) with H' = s H for "SAME" and

        H' = (H - 1) s + (h - 1) d + 1 - low - high + output_padding        otherwise

    so that a convolution with these settings makes H of H'. Parameters take the dtype of x; sums are
    taken in float32 at least. Cache: x. Source: Zeiler et al. (2010); Dumoulin, Visin (2016).

    Initial weights. Under a stride, an output pixel meets only every s-th weight. Those that meet are
    drawn together, as the dense kernel that they are, so that `kernel_init` knows their true fan-in and
    all pixels of y get the variance that it promises (one draw for all: s² too small, and uneven).

    Args:
      features: output channels, F.
      window: one int for all axes, or one for each: (h, w).
      stride: pixels of y from one window to the next, on each axis.
      padding: "SAME" for s H outputs, "VALID" for all that are written, an int for all sides, or
        (low, high) for each axis: what is cut off of those, as the convolution would pad.
      output_padding: rows and columns after the last, fewer than the stride, because a convolution with
        a stride makes the same H of several H'; not for "SAME", which says what H' is.
      dilation: pixels from one weight to the next.
      groups: blocks of channels.
      bias: whether b is added.
      kernel_init: draws w.
      bias_init: draws b.

    Raises:
      TypeError: x is of integers.
      ValueError: a setting is out of range, or two are for different numbers of axes; x is no batch of
        images, has channels that do not fall into `groups`, or another number of them or of axes than
        the parameters; nothing is left of y.
    """
    name = "transposed_convolution"
    if features < 1 or groups < 1 or features % groups:
        raise ValueError(
            f"{name}: expected at least one feature and one group, and features that are a "
            f"multiple of groups, got features={features} and groups={groups}"
        )
    settings = window_settings(name, window, stride, padding, dilation)
    settings, more = _with_output_padding(settings, output_padding)

    def init(key: Key, x: Array) -> ConvolutionParams:
        check_images(x, settings, None, None)
        dtype, channels = parameter_dtype(x), x.shape[-1]
        if channels % groups:
            raise ValueError(
                f"{name}: expected a number of channels that is a multiple of groups={groups}, "
                f"got {channels} channels"
            )
        windows = _windows_onto(x.shape[1:-1], settings, more)  # whether anything is left

        def draw(key: Key, window: Sequence[int]) -> Array:
            return kernel_init(key, (*window, channels // groups, features), dtype, groups=groups)

        w = _drawn_together(draw, child_key(key, "w"), windows)
        b = bias_init(child_key(key, "b"), (features,), dtype) if bias else None
        return ConvolutionParams(w, b)

    def forward(params: ConvolutionParams, x: Array) -> tuple[Array, ConvolutionCache]:
        w, b = params
        check_images(x, settings, w.shape[-2] * groups, w.ndim - 2)
        check_inexact(x)
        dtype = computing_dtype(x, w, b)
        windows = _windows_onto(x.shape[1:-1], settings, more)
        y = input_gradient(x.astype(dtype), exchanged(w.astype(dtype), groups), windows, groups)
        return with_bias(y, b).astype(x.dtype), ConvolutionCache(x)

    def backward(
        params: ConvolutionParams, cache: ConvolutionCache, dy: Array
    ) -> tuple[ConvolutionParams, Array]:
        x, (w, b) = cache.x, params
        windows = _windows_onto(x.shape[1:-1], settings, more)
        dtype = computing_dtype(x, w, b)
        dy = dy.astype(dtype)
        dx = convolve(dy, exchanged(w.astype(dtype), groups), windows, groups)
        dw = exchanged(kernel_gradient(dy, x.astype(dtype), windows, groups), groups)
        return ConvolutionParams(dw.astype(w.dtype), bias_gradient(dy, b)), dx.astype(x.dtype)

    return pure(f"{name}({features}, {written(settings)})", forward, backward, init)


def _windows_onto(image: Sequence[int], settings: WindowSettings, more: int | Sizes) -> Windows:
    """The windows of the convolution that makes `image` of a larger one.

    Raises:
      ValueError: the larger one has no pixel.
    """
    layer, window, stride, padding, dilation, _ = settings
    rank = len(image)
    larger, pads = [], []
    for axis in range(rank):
        size, s = image[axis], on_axes(stride, rank)[axis]
        k, d = on_axes(window, rank)[axis], on_axes(dilation, rank)[axis]
        if padding == "SAME":
            whole = size * s
            low, high = axis_padding(whole, k, s, "SAME", d)
        else:
            given = (padding, padding) if isinstance(padding, int) else padding[axis]
            low, high = (0, 0) if isinstance(given, str) else given
            whole = (size - 1) * s + (k - 1) * d + 1 - low - high + on_axes(more, rank)[axis]
        if size < 1 or whole < 1:
            raise ValueError(
                f"{layer}: expected an output of at least one pixel on every axis, got {whole} from an "
                f"axis of {size}, a window of {k}, stride {s}, dilation {d} and padding {(low, high)}; "
                "cut off less"
            )
        larger.append(whole)
        pads.append((low, high))
    sizes = (on_axes(window, rank), on_axes(stride, rank), on_axes(dilation, rank))
    return Windows(tuple(larger), *sizes, tuple(pads), tuple(image))


def _with_output_padding(
    settings: WindowSettings, output_padding: Any
) -> tuple[WindowSettings, int | Sizes]:
    """The settings with the rank of `output_padding`, if it has one, and this checked."""
    more = int_or_sizes(output_padding, "output_padding", settings.layer, least=0)
    if isinstance(more, tuple):
        if settings.rank not in (None, len(more)):
            raise ValueError(
                f"{settings.layer}: expected output_padding for {settings.rank} axes as for the other "
                f"settings, got {output_padding!r}"
            )
        settings = settings._replace(rank=len(more))
    rank = settings.rank or 1
    strides = on_axes(settings.stride, rank)
    if any(m >= s for m, s in zip(on_axes(more, rank), strides, strict=True)):
        raise ValueError(
            f"{settings.layer}: expected output_padding below the stride of {settings.stride}, beyond "
            f"which another window would fit, got {output_padding!r}"
        )
    if settings.padding == "SAME" and any(on_axes(more, rank)):
        raise ValueError(
            f'{settings.layer}: expected no output_padding with "SAME", for stride · size outputs, '
            f"got {output_padding!r}"
        )
    return settings, more


def _drawn_together(
    draw: Callable[[Key, Sequence[int]], Array], key: Key, windows: Windows
) -> Array:
    """The kernel, drawn in as many parts as there are sets of weights that meet in a pixel of y.

    Weight i of an axis writes to the pixels u ≡ i d - low (mod s), so those of one i d mod s meet.
    """
    on_axis = [
        [[i for i in range(k) if i * d % s == r] for r in range(s)]
        for k, s, d in zip(windows.window, windows.stride, windows.dilation, strict=True)
    ]
    sets = [places for places in itertools.product(*on_axis) if all(places)]
    if len(sets) == 1:
        return draw(key, windows.window)
    flat = np.arange(math.prod(windows.window)).reshape(windows.window)
    drawn, order = [], []
    for number, places in enumerate(sets):
        part = draw(child_key(key, str(number)), [len(axis) for axis in places])
        drawn.append(part.reshape(-1, *part.shape[-2:]))
        order.append(flat[np.ix_(*places)].reshape(-1))
    whole = jnp.concatenate(drawn)[np.argsort(np.concatenate(order))]
    return whole.reshape(*windows.window, *whole.shape[1:])
