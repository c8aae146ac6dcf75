"""Normalization."""

from fnn import layers

from .rows import LayerRow

LAYERS = {
    "batch_norm": LayerRow(layers.batch_norm, (8, 3), refuses_empty_batch=True),
    "batch_norm of images": LayerRow(
        layers.batch_norm, (3, 3, 2, 3), refuses_empty_batch=True, refuses_no_time=True
    ),
    "batch_norm, population, unbiased, bare": LayerRow(
        lambda: layers.batch_norm(momentum=None, unbiased=True, scale=False, bias=False),
        (6, 2),
        refuses_empty_batch=True,
    ),
    "layer_norm": LayerRow(layers.layer_norm, (4, 5)),
    "layer_norm of a sequence, no scale": LayerRow(
        lambda: layers.layer_norm(scale=False), (2, 3, 4)
    ),
    "rms_norm": LayerRow(layers.rms_norm, (4, 5)),
    "group_norm": LayerRow(lambda: layers.group_norm(2), (2, 3, 1, 4), refuses_no_time=True),
    "group_norm of one position, bare": LayerRow(
        lambda: layers.group_norm(2, scale=False, bias=False), (2, 6)
    ),
    "instance_norm": LayerRow(layers.instance_norm, (2, 3, 2, 3), refuses_no_time=True),
    "weight_norm of linear": LayerRow(lambda: layers.weight_norm(layers.linear(4)), (4, 3)),
    "weight_norm of convolution": LayerRow(
        lambda: layers.weight_norm(layers.convolution(2, 2)), (2, 3, 3, 2), refuses_no_time=True
    ),
    "spectral_norm of linear": LayerRow(lambda: layers.spectral_norm(layers.linear(4)), (4, 3)),
    "spectral_norm of convolution": LayerRow(
        lambda: layers.spectral_norm(layers.convolution(2, 2, bias=False)),
        (2, 3, 3, 2),
        refuses_no_time=True,
    ),
}
