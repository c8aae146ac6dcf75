"""Layers that draw."""

from experiments.cost_rows.row import CostRow
from fnn import layers

ROWS = {"dropout": CostRow(layers.dropout(0.5), (128, 4096), (32, 16))}
