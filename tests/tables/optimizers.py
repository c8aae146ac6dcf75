"""Optimizers: descent, and all families in one table."""

import optax

from fnn import optimizers

from . import optimizers_adam
from .rows import OptimizerRow


def sgd(gradient, p, rate):
    while True:
        p = p - rate * gradient(p)
        yield p


DESCENT = {
    "sgd": OptimizerRow(optimizers.sgd, 0.1, formula=sgd, peer=lambda rate: optax.sgd(rate)),
    "momentum": OptimizerRow(
        optimizers.momentum,
        0.02,
        {"decay": 0.9},
        peer=lambda rate, decay: optax.sgd(rate, momentum=decay),
    ),
    "nesterov": OptimizerRow(
        optimizers.nesterov,
        0.02,
        {"decay": 0.9},
        peer=lambda rate, decay: optax.sgd(rate, momentum=decay, nesterov=True),
    ),
}
OPTIMIZERS = {**DESCENT, **optimizers_adam.OPTIMIZERS}
