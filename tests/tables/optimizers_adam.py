"""Optimizers: the Adam family."""

import optax

from fnn import optimizers

from .rows import OptimizerRow

OPTIMIZERS = {
    "adam": OptimizerRow(
        optimizers.adam,
        0.1,
        {"b1": 0.9, "b2": 0.999, "eps": 1e-8},
        peer=lambda rate, b1, b2, eps: optax.adam(rate, b1, b2, eps),
    ),
}
