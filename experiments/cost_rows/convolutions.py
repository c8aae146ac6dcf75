"""Convolutions: on a small batch in the scan."""

from typing import Any

from experiments.cost_rows.row import CostRow
from fnn import layers


def _row(shape: tuple[int, ...], *arguments: Any, **options: Any) -> CostRow:
    return CostRow(
        layers.convolution(*arguments, **options), shape, (2, 8, 8, shape[-1]), batch_in_scan=8
    )


ROWS = {
    "convolution 3x3, 1 -> 32": _row((128, 28, 28, 1), 32, 3),
    "convolution 3x3, 32 -> 32": _row((128, 28, 28, 32), 32, 3),
    "convolution 3x3, 32 -> 64": _row((128, 14, 14, 32), 64, 3),
    "convolution 3x3, 64 -> 64": _row((128, 14, 14, 64), 64, 3),
    "convolution 3x3 stride 2": _row((128, 28, 28, 32), 64, 3, stride=2),
    "convolution 3x3 dilated": _row((128, 28, 28, 32), 32, 3, dilation=2),
    "convolution 1x1": _row((128, 28, 28, 64), 64, 1),
    "convolution depthwise": _row((128, 28, 28, 64), 64, 3, groups=64),
    "convolution 4 groups": _row((128, 28, 28, 32), 32, 3, groups=4),
}
