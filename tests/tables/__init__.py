"""The tables that every property runs over: a new layer, loss or optimizer is one row here."""

from . import (
    activations,
    attention,
    containers,
    convolutions,
    dense,
    gates,
    noise,
    normalization,
    pooling,
    recurrent,
)
from .losses import LOSSES
from .optimizers import OPTIMIZERS
from .rows import LayerRow, LossRow, OptimizerRow, floating, public
from .transforms import INNER, TRANSFORMS, WRAPPERS, TransformRow

FAMILIES = (
    dense,
    activations,
    gates,
    convolutions,
    pooling,
    normalization,
    noise,
    recurrent,
    attention,
    containers,
)
LAYERS = {name: row for family in FAMILIES for name, row in family.LAYERS.items()}
if len(LAYERS) != sum(len(family.LAYERS) for family in FAMILIES):
    raise ValueError("two rows of the tables have one name")

__all__ = [
    "FAMILIES",
    "INNER",
    "LAYERS",
    "LOSSES",
    "OPTIMIZERS",
    "TRANSFORMS",
    "WRAPPERS",
    "LayerRow",
    "LossRow",
    "OptimizerRow",
    "TransformRow",
    "floating",
    "public",
]
