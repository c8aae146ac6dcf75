"""Optimizers: descent, and all families in one table."""

import numpy as np
import optax

from fnn import optimizers

from . import (
    optimizers_adam,
    optimizers_adam_variants,
    optimizers_adaptive,
    optimizers_curvature,
    optimizers_factored,
    optimizers_layerwise,
    optimizers_orthogonal,
    optimizers_schedule_free,
)
from .rows import OptimizerRow


def sgd(gradient, p, rate):
    while True:
        p = p - rate * gradient(p)
        yield p


def trace(gradient, p, rate, decay):
    """torch.optim.SGD's pseudo-code, without dampening."""
    buffer = np.zeros_like(p)
    while True:
        buffer = decay * buffer + gradient(p)
        p = p - rate * buffer
        yield p


def nesterov_trace(gradient, p, rate, decay):
    """torch.optim.SGD's pseudo-code with nesterov."""
    buffer = np.zeros_like(p)
    while True:
        g = gradient(p)
        buffer = decay * buffer + g
        p = p - rate * (g + decay * buffer)
        yield p


def velocity(gradient, p, rate, decay):
    """As in the lecture notes: v = mu * v - learning_rate * dx; x += v."""
    v = np.zeros_like(p)
    while True:
        v = decay * v - rate * gradient(p)
        p = p + v
        yield p


def nesterov_velocity(gradient, p, rate, decay):
    """As in the lecture notes: x += -mu * v_prev + (1 + mu) * v."""
    v = np.zeros_like(p)
    while True:
        before = v
        v = decay * v - rate * gradient(p)
        p = p - decay * before + (1 + decay) * v
        yield p


DESCENT = {
    "sgd": OptimizerRow(optimizers.sgd, 0.1, formula=sgd, peer=lambda rate: optax.sgd(rate)),
    "momentum": OptimizerRow(
        optimizers.momentum,
        0.02,
        {"decay": 0.9},
        formula=trace,
        peer=lambda rate, decay: optax.sgd(rate, momentum=decay),
    ),
    "momentum, velocity": OptimizerRow(
        optimizers.momentum,
        0.02,
        {"decay": 0.9},
        arguments={"dialect": "velocity"},
        formula=velocity,
        peer=lambda rate, decay: optax.chain(
            optax.scale_by_learning_rate(rate), optax.trace(decay)
        ),
    ),
    "nesterov": OptimizerRow(
        optimizers.nesterov,
        0.02,
        {"decay": 0.9},
        formula=nesterov_trace,
        peer=lambda rate, decay: optax.sgd(rate, momentum=decay, nesterov=True),
    ),
    "nesterov, velocity": OptimizerRow(
        optimizers.nesterov,
        0.02,
        {"decay": 0.9},
        arguments={"dialect": "velocity"},
        formula=nesterov_velocity,
        peer=lambda rate, decay: optax.chain(
            optax.scale_by_learning_rate(rate), optax.trace(decay, nesterov=True)
        ),
    ),
}
OPTIMIZERS = {
    **DESCENT,
    **optimizers_adaptive.OPTIMIZERS,
    **optimizers_adam.OPTIMIZERS,
    **optimizers_adam_variants.OPTIMIZERS,
    **optimizers_layerwise.OPTIMIZERS,
    **optimizers_factored.OPTIMIZERS,
    **optimizers_orthogonal.OPTIMIZERS,
    **optimizers_schedule_free.OPTIMIZERS,
    **optimizers_curvature.OPTIMIZERS,
}
