"""Activations."""

from experiments.cost_rows.row import CostRow
from fnn import layers

ROWS = {
    "sigmoid": CostRow(layers.sigmoid(), (32, 28, 28, 32), (32, 16)),
    "tanh": CostRow(layers.tanh(), (32, 28, 28, 32), (32, 16)),
    "relu": CostRow(layers.relu(), (32, 28, 28, 32), (32, 16)),
    "softmax": CostRow(layers.softmax(), (4096, 128), (32, 16)),
}
