"""Gradient descent and its momentum."""

from typing import Any

from fnn.layer import Array
from fnn.optimizers.dialects import check_dialect
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


def trace(decay: Given, *, nesterov: bool = False, name: str = "decay") -> Optimizer:
    """A decaying sum: ``m ← decay · m + g``, then ``u = m``, or ``u = g + decay · m`` with `nesterov`.

    `name` is what the state calls the decay, for optimizers that have another one.
    Sources: Polyak (1964); Nesterov (1983), in the form of Sutskever et al. (2013).

    Raises:
      ValueError: the decay is a number outside of [0, 1).
    """

    def rule(h: Any, g: Array, p: Array, m: Array) -> tuple[Array, Array]:
        del p  # the step depends on the gradients alone
        b = getattr(h, name)
        m = b * m + g
        return (b * m + g if nesterov else m), m

    return leafwise(rule, hyper={name: decay}, slots={"trace": zeros})


def velocity(
    rate: Given, decay: Given, *, nesterov: bool = False, name: str = "decay"
) -> Optimizer:
    """A step that goes on: ``v ← decay · v - rate · g``, then ``u = v``, or ``u = decay · v - rate · g``.

    The second one with `nesterov`. It descends: no `descend` belongs after it. `name` is what the state
    calls the decay, for optimizers that have another one. Source: Sutskever et al. (2013).

    Raises:
      ValueError: the rate is a number that is negative or not finite, the decay one outside of [0, 1).
    """

    def rule(h: Any, g: Array, p: Array, v: Array) -> tuple[Array, Array]:
        del p  # the step depends on the gradients alone
        b, down = getattr(h, name), -h.rate * g
        v = b * v + down
        return (b * v + down if nesterov else v), v

    return leafwise(rule, hyper={"rate": rate, name: decay}, slots={"velocity": zeros})


def sgd(rate: Given) -> Optimizer:
    """Gradient descent: ``params ← params - rate · g``.

    Online, mini-batch or full-batch as the gradients that it is given. Hyperparameter: rate.
    Source: Robbins, Monro (1951).
    """
    return compose(rate=descend(rate))


def momentum(rate: Given, decay: Given = 0.9, *, dialect: str = "trace") -> Optimizer:
    """Descent along a decaying sum of the gradients.

        "trace":      m ← decay · m + g             params ← params - rate · m
        "velocity":   v ← decay · v - rate · g      params ← params + v

    Under one rate they are the same, as v = -rate · m. A rate that changes acts at once on all of m, but
    on v only through the gradients that are still to come. "trace" is torch's and optax's, "velocity"
    that of the lecture notes (cs231n) and of Keras.
    Hyperparameters: rate, decay. State: one slot. Source: Polyak (1964).

    Raises:
      ValueError: an unknown dialect.
    """
    return _with_momentum(rate, decay, dialect, nesterov=False)


def nesterov(rate: Given, decay: Given = 0.9, *, dialect: str = "trace") -> Optimizer:
    """Momentum that looks ahead: the gradients are of the point to which the momentum alone would lead.

        "trace":      m ← decay · m + g             params ← params - rate · (g + decay · m)
        "velocity":   v ← decay · v - rate · g      params ← params + decay · v - rate · g

    The parameters are that point ahead. In terms of v and the v before it, the second step is the
    (1 + decay) · v - decay · v_before of the lecture notes. The two are the same under one rate and
    differ under a schedule, as in `momentum`; "trace" is torch's and optax's, "velocity" that of the
    notes (cs231n) and of Keras. Hyperparameters: rate, decay. State: one slot.
    Sources: Nesterov (1983), in the form of Sutskever, Martens, Dahl, Hinton (2013).

    Raises:
      ValueError: an unknown dialect.
    """
    return _with_momentum(rate, decay, dialect, nesterov=True)


def _with_momentum(rate: Given, decay: Given, dialect: str, *, nesterov: bool) -> Optimizer:
    check_dialect(dialect, "trace", "velocity")
    if dialect == "velocity":
        return compose(velocity=velocity(rate, decay, nesterov=nesterov))
    return compose(trace=trace(decay, nesterov=nesterov), rate=descend(rate))
