"""Whole networks."""

from experiments.cost_rows.row import NetworkRow
from fnn import models

ROWS = {
    "network W1": NetworkRow(
        models.mlp((512, 512), 10),
        (128, 784),
        (8, 16),
        reason="three matrix products a layer either way",
    ),
    "network W2": NetworkRow(models.convnet(10), (128, 28, 28, 1), (4, 8, 8, 1), batch_in_scan=8),
}
