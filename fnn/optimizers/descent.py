"""Gradient descent and its momentum."""

from fnn.layer import Array
from fnn.optimizers.optimizer import Optimizer, Schedule, compose
from fnn.optimizers.transforms import descend, trace


def sgd(rate: float | Array | Schedule) -> Optimizer:
    """Gradient descent: ``params ← params - rate · g``.

    Online, mini-batch or full-batch as the gradients that it is given. Hyperparameter: rate.
    Source: Robbins, Monro (1951).
    """
    return compose(rate=descend(rate))


def momentum(rate: float | Array | Schedule, decay: float | Array | Schedule = 0.9) -> Optimizer:
    """Descent along a decaying sum of the gradients.

    ``m ← decay · m + g``, ``params ← params - rate · m``. The rate multiplies the sum, so that a rate
    that changes acts at once on all of it. Hyperparameters: rate, decay. Source: Polyak (1964).
    """
    return compose(trace=trace(decay), rate=descend(rate))


def nesterov(rate: float | Array | Schedule, decay: float | Array | Schedule = 0.9) -> Optimizer:
    """Momentum that looks ahead.

    ``m ← decay · m + g``, ``params ← params - rate · (g + decay · m)``. Hyperparameters: rate, decay.
    Sources: Nesterov (1983), in the form of Sutskever, Martens, Dahl, Hinton (2013).
    """
    return compose(trace=trace(decay, nesterov=True), rate=descend(rate))
