"""Containers."""

from experiments.cost_rows.row import CostRow

ROWS: dict[str, CostRow] = {}
