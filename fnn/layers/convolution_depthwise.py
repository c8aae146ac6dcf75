"""Convolutions that keep channels apart: depthwise, and separable into depthwise and pointwise."""

from collections.abc import Mapping, Sequence

from fnn.compose.chain import chain
from fnn.initializers import Initializer, he_normal, zeros
from fnn.layer import Layer
from fnn.layers.convolution import convolution, grouped, written
from fnn.layers.windows import PaddingSetting, window_settings


def depthwise_convolution(
    window: int | Sequence[int],
    *,
    multiplier: int = 1,
    stride: int | Sequence[int] = 1,
    padding: PaddingSetting = "SAME",
    dilation: int | Sequence[int] = 1,
    bias: bool = True,
    kernel_init: Initializer = he_normal,
    bias_init: Initializer = zeros,
) -> Layer:
    """Every channel is convolved for itself: a `convolution` with as many groups as x has channels.

    Forward, with m = `multiplier` outputs for each channel, which lie side by side:

        y[n, o, q, f] = b[f] + Σ_{i,j} x[n, o s - p + i d, q s - p + j d, c] w[i, j, 0, f],  f = c m + k

    Backward is that of `convolution`, without its sums over channels:

        dx[n, u, v, c] = Σ_{i,j,k} dy[n, o, q, c m + k] w[i, j, 0, c m + k],  o s - p + i d = u, …
        dw[i, j, 0, f] = Σ_{n,o,q} x[n, o s - p + i d, q s - p + j d, f // m] dy[n, o, q, f]
        db[f] = Σ_{n,o,q} dy[n, o, q, f]

    Shapes: x (N, H, W, C), w (h, w, 1, C m), b (C m,), y (N, H', W', C m); with one axis or three as for
    `convolution`. Cache: x. Source: Sifre (2014); Chollet (2017).

    Args:
      window: one int for all axes, or one for each: (h, w).
      multiplier: outputs for each channel, m.
      stride: pixels from one place to the next, on each axis.
      padding: "SAME", "VALID", an int for all sides, or (low, high) for each axis.
      dilation: pixels from one weight to the next.
      bias: whether b is added.
      kernel_init: draws w; its fan-in is that of one channel, h · w.
      bias_init: draws b.

    Raises:
      TypeError: x is of integers.
      ValueError: a setting is out of range, or two are for different numbers of axes; x is no batch of
        images, or has another number of channels or axes than the parameters; the window does not fit.
    """
    _check_multiplier("depthwise_convolution", multiplier)
    settings = window_settings("depthwise_convolution", window, stride, padding, dilation)
    return grouped(
        f"depthwise_convolution({written(settings)})",
        settings,
        lambda channels: (1, channels * multiplier),
        lambda w: w.shape[-1] // multiplier,
        bias,
        kernel_init,
        bias_init,
    )


def separable_convolution(
    features: int,
    window: int | Sequence[int],
    *,
    multiplier: int = 1,
    stride: int | Sequence[int] = 1,
    padding: PaddingSetting = "SAME",
    dilation: int | Sequence[int] = 1,
    bias: bool = True,
    kernel_init: Initializer = he_normal,
    bias_init: Initializer = zeros,
) -> Layer:
    """A convolution whose kernel is a product: first over the pixels, then over the channels.

    It is the chain of a `depthwise_convolution`, called `depthwise`, and a 1×1 `convolution`, called
    `pointwise`, with nothing between them. With m = `multiplier`, both together are one convolution of

        w[i, j, c, f] = Σ_k depthwise.w[i, j, 0, c m + k] · pointwise.w[0, 0, c m + k, f]

    which has C m (h w + F) weights in place of h w C F.

    Forward: ``pointwise(depthwise(x))``. Backward: that of the two, one after the other. Shapes:
    x (N, H, W, C), depthwise.w (h, w, 1, C m), pointwise.w (1, 1, C m, F), pointwise.b (F,),
    y (N, H', W', F); with one axis or three as for `convolution`. Cache: x and the depthwise output.
    Source: Sifre (2014); Chollet (2017); Howard et al. (2017).

    Args:
      features: output channels, F.
      window: one int for all axes, or one for each: (h, w).
      multiplier: channels between the two for each channel of x.
      stride: pixels from one place to the next, on each axis.
      padding: "SAME", "VALID", an int for all sides, or (low, high) for each axis.
      dilation: pixels from one weight to the next.
      bias: whether the pointwise one adds its b; one between the two would be lost in it.
      kernel_init: draws both kernels.
      bias_init: draws b.

    Raises:
      TypeError: x is of integers.
      ValueError: as for the two convolutions.
    """
    _check_multiplier("separable_convolution", multiplier)
    settings = window_settings("separable_convolution", window, stride, padding, dilation)
    if features < 1:
        raise ValueError(f"separable_convolution: expected at least one feature, got {features}")
    depthwise = depthwise_convolution(
        window,
        multiplier=multiplier,
        stride=stride,
        padding=padding,
        dilation=dilation,
        bias=False,
        kernel_init=kernel_init,
    )
    pointwise = convolution(features, 1, bias=bias, kernel_init=kernel_init, bias_init=bias_init)

    def build(parts: Mapping[str, Layer]) -> Layer:
        title = f"separable_convolution({features}, {written(settings)})"
        return chain(**parts)._replace(name=title, rebuild=build)

    return build({"depthwise": depthwise, "pointwise": pointwise})


def _check_multiplier(layer: str, multiplier: int) -> None:
    if multiplier < 1:
        raise ValueError(f"{layer}: expected a multiplier of at least 1, got {multiplier}")
