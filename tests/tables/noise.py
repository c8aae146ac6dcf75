"""Layers that draw."""

from fnn import layers

from .rows import LayerRow

LAYERS = {
    "dropout": LayerRow(lambda: layers.dropout(0.3), (4, 5)),
    "dropout, scaled at test": LayerRow(lambda: layers.dropout(0.3, scale="test"), (4, 5)),
    "spatial_dropout": LayerRow(lambda: layers.spatial_dropout(0.4), (3, 2, 2, 4)),
    "alpha_dropout": LayerRow(lambda: layers.alpha_dropout(0.3), (4, 5)),
    "gaussian_dropout": LayerRow(lambda: layers.gaussian_dropout(0.3), (4, 5)),
    "gaussian_noise": LayerRow(lambda: layers.gaussian_noise(0.5), (4, 5)),
}
