"""Optimizers: Adam and its dialects. NumPy float64, written from the papers and the libraries' docs."""

import numpy as np
import optax

from fnn import optimizers

from .rows import OptimizerRow


def stepping(step, **slots):
    """The formula that subtracts ``rate · step(t, g, memory, p, **hyperparameters)``.

    The memory is a dictionary of arrays like p, made of these numbers; `step` changes it.
    """

    def formula(gradient, p, rate, **hyper):
        memory = {name: np.full_like(p, value) for name, value in slots.items()}
        t = 0
        while True:
            t += 1
            p = p - rate * step(t, gradient(p), memory, p, **hyper)
            yield p

    return formula


def moments(g, memory, b1, b2):
    """Adam's m and v."""
    memory["m"] = b1 * memory["m"] + (1 - b1) * g
    memory["v"] = b2 * memory["v"] + (1 - b2) * g**2
    return memory["m"], memory["v"]


def adam(t, g, memory, p, b1, b2, eps):
    m, v = moments(g, memory, b1, b2)
    return (m / (1 - b1**t)) / (np.sqrt(v / (1 - b2**t)) + eps)


def adam_keras(t, g, memory, p, b1, b2, eps):
    """keras.optimizers.Adam: alpha = lr * sqrt(1 - beta_2_power) / (1 - beta_1_power)."""
    m, v = moments(g, memory, b1, b2)
    alpha = np.sqrt(1 - b2**t) / (1 - b1**t)
    return alpha * m / (np.sqrt(v) + eps)


def adam_cs231n(t, g, memory, p, b1, b2, eps):
    """The course's notes: x += - learning_rate * m / (np.sqrt(v) + eps)."""
    m, v = moments(g, memory, b1, b2)
    return m / (np.sqrt(v) + eps)


def adamw(t, g, memory, p, b1, b2, eps, weight_decay):
    """torch.optim.AdamW."""
    return weight_decay * p + adam(t, g, memory, p, b1, b2, eps)


def adamw_paper(gradient, p, rate, b1, b2, eps, weight_decay):
    """Algorithm 2 of Loshchilov, Hutter (2019) with a schedule multiplier of 1."""
    plain = {"m": np.zeros_like(p), "v": np.zeros_like(p)}
    t = 0
    while True:
        t += 1
        p = p - (rate * adam(t, gradient(p), plain, p, b1, b2, eps) + weight_decay * p)
        yield p


def nadam(gradient, p, rate, b1, b2, eps, momentum_decay):
    """torch.optim.NAdam's pseudo-code."""
    m, v, t, product = np.zeros_like(p), np.zeros_like(p), 0, 1.0
    while True:
        t, g = t + 1, gradient(p)
        mu = b1 * (1 - 0.5 * 0.96 ** (t * momentum_decay))
        mu_next = b1 * (1 - 0.5 * 0.96 ** ((t + 1) * momentum_decay))
        product *= mu
        m = b1 * m + (1 - b1) * g
        v = b2 * v + (1 - b2) * g**2
        m_hat = mu_next * m / (1 - product * mu_next) + (1 - mu) * g / (1 - product)
        p = p - rate * m_hat / (np.sqrt(v / (1 - b2**t)) + eps)
        yield p


def nadam_constant(t, g, memory, p, b1, b2, eps):
    """Dozat's rule with one momentum throughout."""
    m, v = moments(g, memory, b1, b2)
    m_hat = b1 * m / (1 - b1 ** (t + 1)) + (1 - b1) * g / (1 - b1**t)
    return m_hat / (np.sqrt(v / (1 - b2**t)) + eps)


def radam(t, g, memory, p, b1, b2, eps, threshold=5, corrected=False):
    """torch.optim.RAdam's pseudo-code; in the paper the threshold is 4."""
    m, v = moments(g, memory, b1, b2)
    rho_inf = 2 / (1 - b2) - 1
    rho = rho_inf - 2 * t * b2**t / (1 - b2**t)
    m_hat = m / (1 - b1**t)
    if rho <= threshold:
        return m_hat
    r = np.sqrt((rho - 4) * (rho - 2) * rho_inf / ((rho_inf - 4) * (rho_inf - 2) * rho))
    if corrected:
        return m_hat * r / (np.sqrt(v / (1 - b2**t)) + eps)
    return m_hat * r * np.sqrt(1 - b2**t) / (np.sqrt(v) + eps)


def radam_optax(t, g, memory, p, b1, b2, eps):
    return radam(t, g, memory, p, b1, b2, eps, corrected=True)


def radam_paper(t, g, memory, p, b1, b2, eps):
    return radam(t, g, memory, p, b1, b2, eps, threshold=4)


ADAM = {"b1": 0.9, "b2": 0.999, "eps": 1e-8}
# An eps of the size of the roots, so that its place is seen.
LARGE_EPS = {**ADAM, "eps": 0.1}
DECAYING = {**ADAM, "weight_decay": 1e-2}
OPTIMIZERS = {
    "adam": OptimizerRow(
        optimizers.adam,
        0.1,
        ADAM,
        formula=stepping(adam, m=0, v=0),
        peer=lambda rate, b1, b2, eps: optax.adam(rate, b1, b2, eps),
    ),
    "adam, keras": OptimizerRow(
        optimizers.adam,
        0.1,
        LARGE_EPS,
        {"dialect": "keras"},
        formula=stepping(adam_keras, m=0, v=0),
    ),
    "adam, cs231n": OptimizerRow(
        optimizers.adam,
        0.03,
        ADAM,
        {"dialect": "cs231n"},
        formula=stepping(adam_cs231n, m=0, v=0),
    ),
    "adamw": OptimizerRow(
        optimizers.adamw,
        0.1,
        DECAYING,
        formula=stepping(adamw, m=0, v=0),
        peer=lambda rate, b1, b2, eps, weight_decay: optax.adamw(
            rate, b1, b2, eps, weight_decay=weight_decay
        ),
    ),
    "adamw, paper": OptimizerRow(
        optimizers.adamw, 0.1, DECAYING, {"dialect": "paper"}, formula=adamw_paper
    ),
    "nadam": OptimizerRow(optimizers.nadam, 0.1, {**ADAM, "momentum_decay": 4e-3}, formula=nadam),
    "nadam, constant momentum": OptimizerRow(
        optimizers.nadam,
        0.1,
        ADAM,
        {"momentum_decay": None},
        formula=stepping(nadam_constant, m=0, v=0),
        peer=lambda rate, b1, b2, eps: optax.nadam(rate, b1, b2, eps),
    ),
    "radam": OptimizerRow(optimizers.radam, 0.1, ADAM, formula=stepping(radam, m=0, v=0)),
    "radam, optax": OptimizerRow(
        optimizers.radam,
        0.1,
        LARGE_EPS,
        {"dialect": "optax"},
        formula=stepping(radam_optax, m=0, v=0),
        peer=lambda rate, b1, b2, eps: optax.radam(rate, b1, b2, eps),
    ),
    "radam, paper": OptimizerRow(
        optimizers.radam, 0.1, ADAM, {"dialect": "paper"}, formula=stepping(radam_paper, m=0, v=0)
    ),
}
