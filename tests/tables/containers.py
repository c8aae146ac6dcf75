"""Containers."""

from fnn import layers
from fnn.compose import chain, parallel, residual

from .rows import LayerRow

LAYERS = {
    "chain": LayerRow(lambda: chain(layers.linear(4), layers.tanh(), out=layers.linear(2)), (4, 3)),
    "parallel": LayerRow(
        lambda: parallel(a=layers.linear(4), b=chain(layers.tanh(), layers.linear(2))), (4, 3)
    ),
    "residual": LayerRow(
        lambda: residual(chain(layers.linear(3), layers.tanh(), layers.dropout(0.2))), (4, 3)
    ),
    "residual with a shortcut": LayerRow(
        lambda: residual(layers.linear(5), shortcut=layers.linear(5, bias=False)), (4, 3)
    ),
}
