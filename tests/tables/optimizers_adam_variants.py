"""Optimizers: Adam's relatives. NumPy float64, written from the papers and the libraries' documents."""

import numpy as np
import optax

from fnn import optimizers

from .optimizers_adam import ADAM, LARGE_EPS, moments, stepping
from .rows import OptimizerRow


def adamax(t, g, memory, p, b1, b2, eps):
    """torch.optim.Adamax's pseudo-code."""
    memory["m"] = b1 * memory["m"] + (1 - b1) * g
    memory["u"] = np.maximum(b2 * memory["u"], np.abs(g) + eps)
    return memory["m"] / ((1 - b1**t) * memory["u"])


def adamax_keras(t, g, memory, p, b1, b2, eps):
    """keras.optimizers.Adamax."""
    memory["m"] = memory["m"] + (g - memory["m"]) * (1 - b1)
    memory["u"] = np.maximum(b2 * memory["u"], np.abs(g))
    return memory["m"] / ((1 - b1**t) * (memory["u"] + eps))


def amsgrad(t, g, memory, p, b1, b2, eps):
    """torch.optim.Adam(amsgrad=True)."""
    m, v = moments(g, memory, b1, b2)
    memory["max"] = np.maximum(memory["max"], v)
    return m / (1 - b1**t) / (np.sqrt(memory["max"]) / np.sqrt(1 - b2**t) + eps)


def amsgrad_optax(t, g, memory, p, b1, b2, eps):
    m, v = moments(g, memory, b1, b2)
    memory["max"] = np.maximum(memory["max"], v / (1 - b2**t))
    return m / (1 - b1**t) / (np.sqrt(memory["max"]) + eps)


def amsgrad_keras(t, g, memory, p, b1, b2, eps):
    """keras.optimizers.Adam(amsgrad=True)."""
    m, v = moments(g, memory, b1, b2)
    memory["max"] = np.maximum(memory["max"], v)
    alpha = np.sqrt(1 - b2**t) / (1 - b1**t)
    return alpha * m / (np.sqrt(memory["max"]) + eps)


def amsgrad_paper(t, g, memory, p, b1, b2, eps):
    """Algorithm 2 of Reddi et al. (2018), with an eps that it leaves out."""
    m, v = moments(g, memory, b1, b2)
    memory["max"] = np.maximum(memory["max"], v)
    return m / (np.sqrt(memory["max"]) + eps)


def yogi(t, g, memory, p, b1, b2, eps):
    """Algorithm 2 of Zaheer et al. (2018)."""
    memory["m"] = b1 * memory["m"] + (1 - b1) * g
    memory["v"] = memory["v"] - (1 - b2) * np.sign(memory["v"] - g**2) * g**2
    return memory["m"] / (np.sqrt(memory["v"]) + eps)


def yogi_optax(t, g, memory, p, b1, b2, eps):
    memory["m"] = b1 * memory["m"] + (1 - b1) * g
    memory["v"] = memory["v"] - (1 - b2) * np.sign(memory["v"] - g**2) * g**2
    return memory["m"] / (1 - b1**t) / (np.sqrt(memory["v"] / (1 - b2**t)) + eps)


def adabelief(t, g, memory, p, b1, b2, eps, eps_root):
    """Algorithm 2 of Zhuang et al. (2020), with its two eps told apart."""
    memory["m"] = b1 * memory["m"] + (1 - b1) * g
    memory["s"] = b2 * memory["s"] + (1 - b2) * (g - memory["m"]) ** 2 + eps_root
    return memory["m"] / (1 - b1**t) / (np.sqrt(memory["s"] / (1 - b2**t)) + eps)


YOGI = {"b1": 0.9, "b2": 0.999, "eps": 1e-3}
OPTIMIZERS = {
    "adamax": OptimizerRow(
        optimizers.adamax,
        0.1,
        ADAM,
        formula=stepping(adamax, m=0, u=0),
        peer=lambda rate, b1, b2, eps: optax.adamax(rate, b1, b2, eps),
    ),
    "adamax, keras": OptimizerRow(
        optimizers.adamax,
        0.1,
        LARGE_EPS,
        {"dialect": "keras"},
        formula=stepping(adamax_keras, m=0, u=0),
    ),
    "amsgrad": OptimizerRow(
        optimizers.amsgrad, 0.1, ADAM, formula=stepping(amsgrad, m=0, v=0, max=0)
    ),
    "amsgrad, optax": OptimizerRow(
        optimizers.amsgrad,
        0.1,
        ADAM,
        {"dialect": "optax"},
        formula=stepping(amsgrad_optax, m=0, v=0, max=0),
        peer=lambda rate, b1, b2, eps: optax.amsgrad(rate, b1, b2, eps),
    ),
    "amsgrad, keras": OptimizerRow(
        optimizers.amsgrad,
        0.1,
        LARGE_EPS,
        {"dialect": "keras"},
        formula=stepping(amsgrad_keras, m=0, v=0, max=0),
    ),
    "amsgrad, paper": OptimizerRow(
        optimizers.amsgrad,
        0.03,
        ADAM,
        {"dialect": "paper"},
        formula=stepping(amsgrad_paper, m=0, v=0, max=0),
        peer=lambda rate, b1, b2, eps: optax.amsgrad(
            rate, b1, b2, eps, bias_correction_mu=False, bias_correction_nu=False
        ),
    ),
    "yogi": OptimizerRow(optimizers.yogi, 0.03, YOGI, formula=stepping(yogi, m=0, v=1e-6)),
    "yogi, optax": OptimizerRow(
        optimizers.yogi,
        0.1,
        YOGI,
        {"dialect": "optax"},
        formula=stepping(yogi_optax, m=1e-6, v=1e-6),
        peer=lambda rate, b1, b2, eps: optax.yogi(rate, b1, b2, eps),
    ),
    "adabelief": OptimizerRow(
        optimizers.adabelief,
        0.1,
        {"b1": 0.9, "b2": 0.999, "eps": 1e-16, "eps_root": 1e-16},
        formula=stepping(adabelief, m=0, s=0),
        peer=lambda rate, b1, b2, eps, eps_root: optax.adabelief(rate, b1, b2, eps, eps_root),
    ),
}
