"""Optimizers: Adafactor. NumPy float64, written from the paper."""

import jax.numpy as jnp
import numpy as np
import optax

from fnn import optimizers

from .rows import OptimizerRow


def rms(x):
    return np.sqrt(np.mean(x**2))


def bounded(u, p, threshold, least_scale):
    return max(least_scale, rms(p)) * u / max(1, rms(u) / threshold)


def factored(gradient, p, rate, power, eps, threshold, least_scale):
    """Algorithm 4 of Shazeer, Stern (2018), with a rate in place of the relative step."""
    rows, columns = np.zeros((p.shape[0], 1)), np.zeros((1, p.shape[1]))
    t = 0
    while True:
        t, g = t + 1, gradient(p)
        b = 1 - t**-power
        rows = b * rows + (1 - b) * (g**2 + eps).sum(axis=1, keepdims=True)
        columns = b * columns + (1 - b) * (g**2 + eps).sum(axis=0, keepdims=True)
        u = g / np.sqrt(rows * columns / rows.sum())
        p = p - rate * bounded(u, p, threshold, least_scale)
        yield p


def unfactored(gradient, p, rate, power, eps, threshold, least_scale):
    """Algorithm 5."""
    v, t = np.zeros_like(p), 0
    while True:
        t, g = t + 1, gradient(p)
        b = 1 - t**-power
        v = b * v + (1 - b) * (g**2 + eps)
        p = p - rate * bounded(g / np.sqrt(v), p, threshold, least_scale)
        yield p


def peer(min_side):
    """optax.adafactor, but for the power of the step count, which it takes in float32."""

    def build(rate, power, eps, threshold, least_scale):
        return optax.chain(
            optax.scale_by_factored_rms(
                epsilon=eps,
                min_dim_size_to_factor=min_side,
                decay_rate=power,
                decay_rate_fn=lambda step, power: 1 - jnp.asarray(step + 1).astype(float) ** -power,
            ),
            optax.clip_by_block_rms(threshold),
            optax.scale_by_learning_rate(rate),
            optax.scale_by_param_block_rms(least_scale),
        )

    return build


ADAFACTOR = {"power": 0.8, "eps": 1e-30, "threshold": 1.0, "least_scale": 1e-3}
OPTIMIZERS = {
    "adafactor": OptimizerRow(
        optimizers.adafactor,
        0.05,
        ADAFACTOR,
        formula=unfactored,
        peer=peer(128),
        needs_falling_rate=True,
    ),
    "adafactor, factored": OptimizerRow(
        optimizers.adafactor,
        0.05,
        ADAFACTOR,
        {"min_side": 2},
        formula=factored,
        peer=peer(2),
        needs_falling_rate=True,
    ),
}
