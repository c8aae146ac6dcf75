"""Linear maps and changes of shape."""

from fnn import layers, losses

from .rows import LayerRow

LAYERS = {
    "linear": LayerRow(lambda: layers.linear(5), (4, 3)),
    "linear of a sequence": LayerRow(lambda: layers.linear(5), (2, 4, 3)),
    "linear without bias": LayerRow(lambda: layers.linear(5, bias=False), (4, 3)),
    "projection": LayerRow(lambda: losses.projection(5), (4, 3), of_x=lambda y: y.x),
    "projection without bias": LayerRow(
        lambda: losses.projection(5, bias=False), (2, 4, 3), of_x=lambda y: y.x
    ),
    "bias": LayerRow(layers.bias, (4, 3)),
    "bias of a sequence": LayerRow(layers.bias, (2, 4, 3)),
    "identity": LayerRow(layers.identity, (4, 3), takes_integers=True),
    "reshape": LayerRow(lambda: layers.reshape(3, -1), (2, 2, 6), takes_integers=True),
    "flatten": LayerRow(layers.flatten, (2, 3, 4), takes_integers=True),
}
