"""Linear maps and changes of shape."""

from experiments.cost_rows.row import CostRow
from fnn import layers

ROWS = {
    "linear 784 -> 512": CostRow(layers.linear(512), (128, 784), (8, 16)),
    "flatten": CostRow(layers.flatten(), (32, 28, 28, 32), (4, 3, 3, 2)),
}
