"""Gradient descent and its momentum."""

from typing import Any

from fnn.layer import Array
from fnn.optimizers.hyperparameters import Given
from fnn.optimizers.leafwise import leafwise, zeros
from fnn.optimizers.optimizer import Optimizer, compose


def descend(rate: Given) -> Optimizer:
    """Against the gradient: ``u = -rate · g``.

    Raises:
      ValueError: the rate is a number that is negative or not finite.
    """

    def rule(h: Any, g: Array, p: Array) -> tuple[Array]:
        del p  # the step depends on the gradient alone
        return (-h.rate * g,)

    return leafwise(rule, hyper={"rate": rate})


def trace(decay: Given, *, nesterov: bool = False) -> Optimizer:
    """A decaying sum: ``m ← decay · m + g``, then ``u = m``, or ``u = g + decay · m`` with `nesterov`.

    Sources: Polyak (1964); Nesterov (1983), in the form of Sutskever et al. (2013).

    Raises:
      ValueError: the decay is a number outside of [0, 1).
    """

    def rule(h: Any, g: Array, p: Array, m: Array) -> tuple[Array, Array]:
        del p  # the step depends on the gradients alone
        m = h.decay * m + g
        return (h.decay * m + g if nesterov else m), m

    return leafwise(rule, hyper={"decay": decay}, slots={"trace": zeros})


def sgd(rate: Given) -> Optimizer:
    """Gradient descent: ``params ← params - rate · g``.

    Online, mini-batch or full-batch as the gradients that it is given. Hyperparameter: rate.
    Source: Robbins, Monro (1951).
    """
    return compose(rate=descend(rate))


def momentum(rate: Given, decay: Given = 0.9) -> Optimizer:
    """Descent along a decaying sum of the gradients.

    ``m ← decay · m + g``, ``params ← params - rate · m``. The rate multiplies the sum, so that a rate
    that changes acts at once on all of it. Hyperparameters: rate, decay. Source: Polyak (1964).
    """
    return compose(trace=trace(decay), rate=descend(rate))


def nesterov(rate: Given, decay: Given = 0.9) -> Optimizer:
    """Momentum that looks ahead.

    ``m ← decay · m + g``, ``params ← params - rate · (g + decay · m)``. Hyperparameters: rate, decay.
    Sources: Nesterov (1983), in the form of Sutskever, Martens, Dahl, Hinton (2013).
    """
    return compose(trace=trace(decay, nesterov=True), rate=descend(rate))
