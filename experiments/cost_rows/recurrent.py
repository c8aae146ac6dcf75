"""Embeddings and recurrent networks."""

from experiments.cost_rows.row import CostRow

ROWS: dict[str, CostRow] = {}
