"""Activations."""

from fnn import layers

from .rows import LayerRow

LAYERS = {
    "sigmoid": LayerRow(layers.sigmoid, (4, 3)),
    "tanh": LayerRow(layers.tanh, (4, 3)),
    "relu": LayerRow(layers.relu, (4, 3)),
    "softmax": LayerRow(layers.softmax, (4, 3)),
    "softmax over the first axis": LayerRow(lambda: layers.softmax(axis=0), (4, 3)),
}
