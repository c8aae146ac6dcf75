"""Optimizers: those with a rate for every layer. NumPy float64, written from the papers."""

import numpy as np
import optax

from fnn import optimizers

from .optimizers_adam import adam
from .rows import OptimizerRow


def lars(gradient, p, rate, decay, weight_decay, trust):
    """Algorithm 1 of You, Gitman, Ginsburg (2017)."""
    v = np.zeros_like(p)
    while True:
        g, length = gradient(p), np.linalg.norm(p)
        local = trust * length / (np.linalg.norm(g) + weight_decay * length)
        v = decay * v + rate * local * (g + weight_decay * p)
        p = p - v
        yield p


def lars_optax(gradient, p, rate, decay, weight_decay, trust):
    v = np.zeros_like(p)
    while True:
        d = gradient(p) + weight_decay * p
        v = decay * v + rate * trust * np.linalg.norm(p) / np.linalg.norm(d) * d
        p = p - v
        yield p


def lamb(gradient, p, rate, b1, b2, eps, weight_decay):
    """Algorithm 2 of You et al. (2020), with the identity for its phi."""
    memory, t = {"m": np.zeros_like(p), "v": np.zeros_like(p)}, 0
    while True:
        t += 1
        d = adam(t, gradient(p), memory, p, b1, b2, eps) + weight_decay * p
        p = p - rate * np.linalg.norm(p) / np.linalg.norm(d) * d
        yield p


LARS = {"decay": 0.9, "weight_decay": 1e-4, "trust": 1e-3}
OPTIMIZERS = {
    "lars": OptimizerRow(
        optimizers.lars, 1.0, LARS, formula=lars, needs_falling_rate=True, parabola_steps=1000
    ),
    "lars, optax": OptimizerRow(
        optimizers.lars,
        1.0,
        LARS,
        {"dialect": "optax"},
        formula=lars_optax,
        # optax's trace is after the rate, as here.
        peer=lambda rate, decay, weight_decay, trust: optax.lars(
            rate, weight_decay, trust_coefficient=trust, momentum=decay
        ),
        needs_falling_rate=True,
        parabola_steps=1000,
    ),
    "lamb": OptimizerRow(
        optimizers.lamb,
        0.02,
        {"b1": 0.9, "b2": 0.999, "eps": 1e-6, "weight_decay": 1e-2},
        formula=lamb,
        peer=lambda rate, b1, b2, eps, weight_decay: optax.lamb(
            rate, b1, b2, eps, weight_decay=weight_decay
        ),
        needs_falling_rate=True,
        parabola_steps=1000,
    ),
}
