"""Layers that draw."""

from fnn import layers

from .rows import LayerRow

LAYERS = {
    "dropout": LayerRow(lambda: layers.dropout(0.3), (4, 5)),
}
