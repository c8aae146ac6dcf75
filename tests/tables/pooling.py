"""Pooling."""

from fnn import layers

from .rows import LayerRow

LAYERS = {
    "max_pool": LayerRow(lambda: layers.max_pool(2), (2, 6, 5, 3)),
    "max_pool, overlapping": LayerRow(
        lambda: layers.max_pool(3, stride=2, padding="SAME"), (2, 6, 5, 3)
    ),
    "max_pool, large": LayerRow(
        lambda: layers.max_pool(9, stride=(1, 2), padding="SAME"), (2, 9, 11, 2)
    ),
}
