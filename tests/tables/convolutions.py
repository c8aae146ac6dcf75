"""Convolutions."""

from fnn import layers

from .rows import LayerRow

_CUT = "an x whose output is cut away meets a dy of 0 in the kernel's gradient, and 0 · ∞ is NaN"

LAYERS = {
    "convolution": LayerRow(lambda: layers.convolution(4, 3), (2, 6, 5, 3), refuses_no_time=True),
    "convolution, strided": LayerRow(
        lambda: layers.convolution(4, 3, stride=2), (2, 7, 6, 3), refuses_no_time=True
    ),
    "convolution, valid, dilated": LayerRow(
        lambda: layers.convolution(4, (2, 3), padding="VALID", dilation=2),
        (2, 7, 8, 3),
        refuses_no_time=True,
    ),
    "convolution, explicit padding": LayerRow(
        lambda: layers.convolution(4, 3, padding=((1, 2), (0, 1))), (2, 6, 5, 3)
    ),
    "convolution, grouped": LayerRow(
        lambda: layers.convolution(6, 3, groups=2, bias=False), (2, 5, 5, 4), refuses_no_time=True
    ),
    "convolution, depthwise": LayerRow(
        lambda: layers.convolution(8, 3, groups=4), (2, 6, 5, 4), refuses_no_time=True
    ),
    "convolution, 1x1": LayerRow(
        lambda: layers.convolution(4, 1), (2, 6, 5, 3), refuses_no_time=True
    ),
    "convolution of sequences": LayerRow(
        lambda: layers.convolution(3, 3), (2, 5, 5), refuses_no_time=True
    ),
    "convolution of volumes, strided": LayerRow(
        lambda: layers.convolution(2, 2, stride=(1, 2, 2), padding=((0, 1), (1, 0), (0, 0))),
        (2, 2, 3, 2, 2),
        refuses_no_time=True,
    ),
    "transposed_convolution": LayerRow(
        lambda: layers.transposed_convolution(3, 3, stride=2), (2, 3, 2, 3), refuses_no_time=True
    ),
    "transposed_convolution, padded, grouped": LayerRow(
        lambda: layers.transposed_convolution(
            2,
            (3, 2),
            stride=(2, 3),
            padding=((1, 0), (0, 1)),
            output_padding=(1, 2),
            dilation=(2, 1),
            groups=2,
            bias=False,
        ),
        (2, 3, 2, 4),
        hard=dict.fromkeys(("inf", "-inf", "nan"), _CUT),
        refuses_no_time=True,
    ),
    "depthwise_convolution": LayerRow(
        lambda: layers.depthwise_convolution((2, 3), multiplier=2),
        (2, 4, 3, 2),
        refuses_no_time=True,
    ),
    "separable_convolution": LayerRow(
        lambda: layers.separable_convolution(3, 3, stride=2), (2, 4, 4, 2), refuses_no_time=True
    ),
}
