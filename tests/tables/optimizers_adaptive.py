"""Optimizers: a rate for every parameter of its own, and steps by the sign alone."""

import numpy as np
import optax

from fnn import optimizers

from .rows import OptimizerRow


def adagrad(gradient, p, rate, eps):
    """As in the lecture notes: cache += dx**2; x += -learning_rate * dx / (np.sqrt(cache) + 1e-7)."""
    cache = np.zeros_like(p)
    while True:
        dx = gradient(p)
        cache = cache + dx**2
        p = p - rate * dx / (np.sqrt(cache) + eps)
        yield p


def adagrad_keras(gradient, p, rate, eps):
    """keras.optimizers.Adagrad with its initial_accumulator_value of 0.1."""
    accumulator = np.full_like(p, 0.1)
    while True:
        g = gradient(p)
        accumulator = accumulator + g * g
        p = p - rate * g / np.sqrt(accumulator + eps)
        yield p


def rmsprop_torch(gradient, p, rate, decay, eps, momentum=0.0, centred=False):
    """torch.optim.RMSprop's pseudo-code."""
    square, buffer, mean = np.zeros_like(p), np.zeros_like(p), np.zeros_like(p)
    while True:
        g = gradient(p)
        square = decay * square + (1 - decay) * g**2
        mean = decay * mean + (1 - decay) * g
        root = np.sqrt(square - mean**2 if centred else square)
        buffer = momentum * buffer + g / (root + eps)
        p = p - rate * buffer
        yield p


def rmsprop_keras(gradient, p, rate, decay, eps, momentum=0.0, centred=False, initial=0.0):
    """keras.optimizers.RMSprop; `initial` as in TensorFlow 1, which began with ones."""
    square, step, mean = np.full_like(p, initial), np.zeros_like(p), np.zeros_like(p)
    while True:
        g = gradient(p)
        square = decay * square + (1 - decay) * g**2
        mean = decay * mean + (1 - decay) * g
        denominator = square - mean**2 + eps if centred else square + eps
        step = momentum * step + rate * g / np.sqrt(denominator)
        p = p - step
        yield p


def adadelta(gradient, p, rate, decay, eps):
    """Algorithm 1 of the paper, with torch's rate."""
    squares, updates = np.zeros_like(p), np.zeros_like(p)
    while True:
        g = gradient(p)
        squares = decay * squares + (1 - decay) * g**2
        delta = -np.sqrt(updates + eps) / np.sqrt(squares + eps) * g
        updates = decay * updates + (1 - decay) * delta**2
        p = p + rate * delta
        yield p


def sign_sgd(gradient, p, rate):
    while True:
        p = p - rate * np.sign(gradient(p))
        yield p


def lion(gradient, p, rate, b1, b2, weight_decay):
    """Algorithm 2 of the paper."""
    m = np.zeros_like(p)
    while True:
        g = gradient(p)
        c = b1 * m + (1 - b1) * g
        p = p - rate * (np.sign(c) + weight_decay * p)
        m = b2 * m + (1 - b2) * g
        yield p


def rprop(gradient, p, rate, shrink, grow, min_step, max_step, backtracking=False):
    """Igel, Hüsken (2000), one parameter after the other: iRprop-, or Rprop with weight backtracking."""
    p = p.copy()
    step, before, last = np.full_like(p, rate), np.zeros_like(p), np.zeros_like(p)
    while True:
        g = gradient(p)
        for i in np.ndindex(p.shape):
            if before[i] * g[i] > 0:
                step[i] = min(step[i] * grow, max_step)
            elif before[i] * g[i] < 0:
                step[i] = max(step[i] * shrink, min_step)
                g[i] = 0.0
                if backtracking:
                    p[i] -= last[i]
            last[i] = -np.sign(g[i]) * step[i]
            p[i] += last[i]
            before[i] = g[i]
        yield p.copy()


RMSPROP = {"decay": 0.9, "eps": 1e-8}
RPROP = {"shrink": 0.5, "grow": 1.2, "min_step": 1e-6, "max_step": 50.0}
ADAPTIVE = {
    "adagrad": OptimizerRow(
        optimizers.adagrad,
        1.0,
        {"eps": 1e-8},
        formula=adagrad,
    ),
    "adagrad, optax": OptimizerRow(
        optimizers.adagrad,
        1.0,
        {"eps": 1e-7},
        {"dialect": "optax"},
        formula=adagrad_keras,
        peer=lambda rate, eps: optax.adagrad(rate, eps=eps),
    ),
    "rmsprop": OptimizerRow(
        optimizers.rmsprop,
        0.05,
        RMSPROP,
        formula=rmsprop_torch,
        peer=lambda rate, decay, eps: optax.rmsprop(rate, decay, eps, eps_in_sqrt=False),
        needs_falling_rate=True,
    ),
    "rmsprop, optax": OptimizerRow(
        optimizers.rmsprop,
        0.05,
        # An eps that is felt beside the squares, so that its place is seen.
        {"decay": 0.9, "eps": 1e-2},
        {"dialect": "optax", "initial": 1.0},
        formula=lambda *given, **hyper: rmsprop_keras(*given, **hyper, initial=1.0),
        peer=lambda rate, decay, eps: optax.rmsprop(rate, decay, eps, initial_scale=1.0),
        needs_falling_rate=True,
    ),
    "rmsprop with momentum, centred": OptimizerRow(
        optimizers.rmsprop,
        0.01,
        {"decay": 0.9, "eps": 1e-2, "momentum": 0.9},
        {"centred": True},
        formula=lambda *given, **hyper: rmsprop_torch(*given, **hyper, centred=True),
        peer=lambda rate, decay, eps, momentum: optax.chain(
            optax.scale_by_stddev(decay, eps, eps_in_sqrt=False),
            optax.trace(momentum),
            optax.scale_by_learning_rate(rate),
        ),
        needs_falling_rate=True,
    ),
    "rmsprop with momentum, centred, optax": OptimizerRow(
        optimizers.rmsprop,
        0.01,
        {"decay": 0.9, "eps": 1e-2, "momentum": 0.9},
        {"centred": True, "dialect": "optax"},
        formula=lambda *given, **hyper: rmsprop_keras(*given, **hyper, centred=True),
        peer=lambda rate, decay, eps, momentum: optax.rmsprop(
            rate, decay, eps, centered=True, momentum=momentum
        ),
        needs_falling_rate=True,
    ),
    "adadelta": OptimizerRow(
        optimizers.adadelta,
        1.0,
        {"decay": 0.9, "eps": 1e-6},
        formula=adadelta,
        peer=lambda rate, decay, eps: optax.adadelta(rate, decay, eps),
        parabola_steps=2000,  # the first ones are of length √eps
    ),
}
SIGN = {
    "sign_sgd": OptimizerRow(
        optimizers.sign_sgd,
        0.1,
        formula=sign_sgd,
        peer=lambda rate: optax.sign_sgd(rate),
        needs_falling_rate=True,
    ),
    "lion": OptimizerRow(
        optimizers.lion,
        0.1,
        {"b1": 0.9, "b2": 0.99, "weight_decay": 0.0},
        formula=lion,
        peer=lambda rate, b1, b2, weight_decay: optax.lion(rate, b1, b2, weight_decay=weight_decay),
        needs_falling_rate=True,
    ),
    "lion with decay": OptimizerRow(
        optimizers.lion,
        0.1,
        {"b1": 0.9, "b2": 0.99, "weight_decay": 0.1},
        formula=lion,
        peer=lambda rate, b1, b2, weight_decay: optax.lion(rate, b1, b2, weight_decay=weight_decay),
        needs_falling_rate=True,
    ),
    "rprop": OptimizerRow(
        optimizers.rprop,
        0.1,
        RPROP,
        formula=rprop,
        rate_is_leaf=False,
    ),
    "rprop, paper": OptimizerRow(
        optimizers.rprop,
        0.1,
        RPROP,
        {"dialect": "paper"},
        formula=lambda *given, **hyper: rprop(*given, **hyper, backtracking=True),
        rate_is_leaf=False,
    ),
}
OPTIMIZERS = {**ADAPTIVE, **SIGN}
