"""Layers that draw."""

from fnn import compose, layers

from .rows import LayerRow

LAYERS = {
    "dropout": LayerRow(lambda: layers.dropout(0.3), (4, 5)),
    "dropout, scaled at test": LayerRow(lambda: layers.dropout(0.3, scale="test"), (4, 5)),
    "spatial_dropout": LayerRow(lambda: layers.spatial_dropout(0.4), (3, 2, 2, 4)),
    "alpha_dropout": LayerRow(lambda: layers.alpha_dropout(0.3), (4, 5)),
    "gaussian_dropout": LayerRow(lambda: layers.gaussian_dropout(0.3), (4, 5)),
    "gaussian_noise": LayerRow(lambda: layers.gaussian_noise(0.5), (4, 5)),
    "dropconnect": LayerRow(lambda: layers.dropconnect(3, 0.3), (3, 4)),
    "dropconnect with relu, one mask": LayerRow(
        lambda: layers.dropconnect(5, 0.3, activation="relu", mask="batch"), (4, 6)
    ),
    "stochastic_depth": LayerRow(
        lambda: compose.stochastic_depth(compose.chain(layers.linear(3), layers.tanh()), 0.6),
        (4, 3),
    ),
    "stochastic_depth per batch": LayerRow(
        lambda: compose.stochastic_depth(
            layers.linear(4), 0.6, shortcut=layers.linear(4), per="batch"
        ),
        (3, 3),
    ),
}
