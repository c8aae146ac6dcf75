"""Pooling."""

from fnn import layers

from .rows import LayerRow

LAYERS = {
    "max_pool": LayerRow(lambda: layers.max_pool(2), (2, 6, 5, 3), refuses_no_time=True),
    "max_pool, overlapping": LayerRow(
        lambda: layers.max_pool(3, stride=2, padding="SAME"), (2, 6, 5, 3), refuses_no_time=True
    ),
    "max_pool, large": LayerRow(
        lambda: layers.max_pool(9, stride=(1, 2), padding="SAME"),
        (2, 9, 11, 2),
        refuses_no_time=True,
    ),
    "average_pool": LayerRow(lambda: layers.average_pool(2), (2, 4, 5, 2), refuses_no_time=True),
    "average_pool, overlapping": LayerRow(
        lambda: layers.average_pool(3, stride=2, padding=1), (2, 6, 5, 2), refuses_no_time=True
    ),
    "average_pool, padding counted": LayerRow(
        lambda: layers.average_pool(3, padding="SAME", count_include_pad=True),
        (2, 7, 2),
        refuses_no_time=True,
    ),
    "sum_pool of volumes": LayerRow(
        lambda: layers.sum_pool((2, 1, 3), stride=(1, 2, 2)), (2, 3, 2, 5, 1), refuses_no_time=True
    ),
    "global_average_pool": LayerRow(layers.global_average_pool, (2, 3, 4, 3), refuses_no_time=True),
    "max_pool of signals": LayerRow(
        lambda: layers.max_pool(3, stride=2, padding=1), (2, 7, 3), refuses_no_time=True
    ),
    "max_pool of volumes": LayerRow(
        lambda: layers.max_pool((2, 1, 2), stride=1), (3, 3, 2, 3, 2), refuses_no_time=True
    ),
    "global_max_pool": LayerRow(layers.global_max_pool, (2, 3, 4, 3), refuses_no_time=True),
    "adaptive_average_pool": LayerRow(
        lambda: layers.adaptive_average_pool((3, 2)), (2, 5, 4, 2), refuses_no_time=True
    ),
    "adaptive_max_pool": LayerRow(
        lambda: layers.adaptive_max_pool((3, 2)), (2, 5, 4, 2), refuses_no_time=True
    ),
    "adaptive_max_pool, even": LayerRow(
        lambda: layers.adaptive_max_pool(2), (2, 4, 6, 2), refuses_no_time=True
    ),
    "adaptive_max_pool, enlarging": LayerRow(
        lambda: layers.adaptive_max_pool(5), (2, 3, 2), refuses_no_time=True
    ),
    "fractional_max_pool": LayerRow(
        lambda: layers.fractional_max_pool(1.5), (2, 6, 4, 2), refuses_no_time=True
    ),
    "fractional_max_pool, random, disjoint": LayerRow(
        lambda: layers.fractional_max_pool((1.5, 1.2), regions="random", overlapping=False),
        (2, 5, 6, 2),
        refuses_no_time=True,
    ),
}
