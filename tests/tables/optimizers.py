"""Optimizers."""

from fnn import optimizers

from .rows import OptimizerRow

OPTIMIZERS = {
    "sgd": OptimizerRow(optimizers.sgd, 0.1, ("rate",)),
    "momentum": OptimizerRow(optimizers.momentum, 0.02, ("rate", "decay")),
    "nesterov": OptimizerRow(optimizers.nesterov, 0.02, ("rate", "decay")),
    "adam": OptimizerRow(optimizers.adam, 0.1, ("rate", "b1", "b2", "eps")),
}
