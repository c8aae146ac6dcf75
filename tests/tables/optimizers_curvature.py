"""Optimizers: those that are told a curvature. NumPy float64, written from the papers."""

import jax
import jax.numpy as jnp
import numpy as np

from fnn import optimizers
from fnn.dtypes import accumulation_dtype

from .rows import OptimizerRow


def bend(params, steps):
    """Some curvature, from 1 to 3, that changes with the parameters and not with the steps."""
    del steps

    def one(p):
        return 2 + jnp.cos(3 * p.astype(accumulation_dtype(p.dtype)))

    return jax.tree.map(one, params)


def diagonal_newton(every):
    def formula(gradient, p, rate, decay, damping):
        mean, steps, taken = np.zeros_like(p), 0, 0
        while True:
            if steps % every == 0:
                mean = decay * mean + (1 - decay) * (2 + np.cos(3 * p))
                taken += 1
            p = p - rate * gradient(p) / (mean / (1 - decay**taken) + damping)
            steps += 1
            yield p

    return formula


OPTIMIZERS = {
    "diagonal newton": OptimizerRow(
        optimizers.diagonal_newton,
        0.5,
        {"decay": 0.0, "damping": 1e-3},
        arguments={"curvature": bend},
        formula=diagonal_newton(1),
    ),
    "diagonal newton, every third": OptimizerRow(
        optimizers.diagonal_newton,
        0.5,
        {"decay": 0.9, "damping": 0.1},
        arguments={"curvature": bend, "every": 3},
        formula=diagonal_newton(3),
    ),
}
