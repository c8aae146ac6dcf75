"""Optimizers: Muon. NumPy float64, written from the reference's text."""

import jax
import numpy as np
import optax

from fnn import optimizers

from .rows import OptimizerRow


def newton_schulz(x, eps):
    """zeropower_via_newtonschulz5 of Jordan et al. (2024), without its bfloat16."""
    a, b, c = 3.4445, -4.7750, 2.0315
    tall = x.shape[0] > x.shape[1]
    x = (x.T if tall else x) / (np.linalg.norm(x) + eps)
    for _ in range(5):
        g = x @ x.T
        x = a * x + (b * g + c * g @ g) @ x
    return x.T if tall else x


def muon(scale, corrected=False):
    """The formula with a factor that depends on (rows, columns)."""

    def formula(gradient, p, rate, decay, weight_decay, b1, b2, eps):
        m, t = np.zeros_like(p), 0
        while True:
            t, g = t + 1, gradient(p)
            m = decay * m + (1 - decay) * g
            first, second = (1 - decay ** (t + 1), 1 - decay**t) if corrected else (1, 1)
            u = newton_schulz(decay * m / first + (1 - decay) * g / second, eps)
            p = p - rate * (scale(*p.shape) * u + weight_decay * p)
            yield p

    return formula


def wide(rows, columns):
    return np.sqrt(max(1, columns / rows))


# Small singular values grow up to 3.4445⁵ = 485 times in one step, and so does their rounding.
GROWTH = 1e-5
TWO_RATES = {"parameters_may_be_called_like_hyperparameters": "matrices and rest have a rate each"}


def peer(rate, decay, weight_decay, b1, b2, eps):
    """optax's matrices of two axes, and AdamW for the rest, where `optax.contrib.muon` has NAdamW."""
    matrices = optax.contrib.muon(rate, beta=decay, eps=eps, weight_decay=weight_decay)
    rest = optax.adamw(rate, b1, b2, eps, weight_decay=weight_decay)
    return optax.partition(
        {True: matrices, False: rest}, lambda params: jax.tree.map(lambda p: p.ndim == 2, params)
    )


MUON = {"decay": 0.95, "weight_decay": 0.0, "b1": 0.9, "b2": 0.999, "eps": 1e-8}
DECAYING = {**MUON, "weight_decay": 0.01}


def row(hyperparameters, formula, **others):
    # At this rate, 50 steps end before the minimum, where the direction of a vanishing gradient is noise.
    return OptimizerRow(
        optimizers.muon,
        0.02,
        hyperparameters,
        formula=formula,
        f32_tolerance=GROWTH,
        needs_falling_rate=True,
        parabola_steps=2000,
        without=TWO_RATES,
        **others,
    )


OPTIMIZERS = {
    "muon": row(MUON, muon(wide)),
    "muon, optax": row(
        DECAYING, muon(wide, corrected=True), arguments={"dialect": "optax"}, peer=peer
    ),
    "muon, moonlight": row(
        DECAYING,
        muon(lambda rows, columns: 0.2 * np.sqrt(max(rows, columns))),
        arguments={"dialect": "moonlight"},
    ),
}
