"""The rows of the cost table, a file for each family."""

from experiments.cost_rows import (
    activations,
    attention,
    containers,
    convolutions,
    dense,
    gates,
    losses,
    networks,
    noise,
    normalization,
    pooling,
    recurrent,
)
from experiments.cost_rows.row import Costed

FAMILIES: dict[str, dict[str, Costed]] = {
    "dense": {**dense.ROWS},
    "activations": {**activations.ROWS},
    "gates": {**gates.ROWS},
    "convolutions": {**convolutions.ROWS},
    "pooling": {**pooling.ROWS},
    "normalization": {**normalization.ROWS},
    "noise": {**noise.ROWS},
    "recurrent": {**recurrent.ROWS},
    "attention": {**attention.ROWS},
    "containers": {**containers.ROWS},
    "losses": {**losses.ROWS},
    "networks": {**networks.ROWS},
}
ROWS = {name: row for family in FAMILIES.values() for name, row in family.items()}
