"""Convolutions."""

from fnn import layers

from .rows import LayerRow

LAYERS = {
    "convolution": LayerRow(lambda: layers.convolution(4, 3), (2, 6, 5, 3)),
    "convolution, strided": LayerRow(lambda: layers.convolution(4, 3, stride=2), (2, 7, 6, 3)),
    "convolution, valid, dilated": LayerRow(
        lambda: layers.convolution(4, (2, 3), padding="VALID", dilation=2), (2, 7, 8, 3)
    ),
    "convolution, explicit padding": LayerRow(
        lambda: layers.convolution(4, 3, padding=((1, 2), (0, 1))), (2, 6, 5, 3)
    ),
    "convolution, grouped": LayerRow(
        lambda: layers.convolution(6, 3, groups=2, bias=False), (2, 5, 5, 4)
    ),
    "convolution, depthwise": LayerRow(lambda: layers.convolution(8, 3, groups=4), (2, 6, 5, 4)),
    "convolution, 1x1": LayerRow(lambda: layers.convolution(4, 1), (2, 6, 5, 3)),
}
