"""Pooling: the opponent is the autodiff of what peers run."""

import jax
import jax.numpy as jnp

from experiments.cost_rows.row import CostRow
from fnn import layers
from fnn.layer import PyTree


def _reduce_window(params: PyTree, x: jax.Array) -> jax.Array:
    del params
    window = (1, 2, 2, 1)
    return jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, window, window, "VALID")


ROWS = {
    "max_pool 2x2": CostRow(layers.max_pool(2), (128, 28, 28, 32), (4, 8, 8, 4), _reduce_window),
    "max_pool 2x2 (own forward)": CostRow(layers.max_pool(2), (128, 28, 28, 32), (4, 8, 8, 4)),
    "max_pool 3x3 stride 2": CostRow(
        layers.max_pool(3, stride=2, padding="SAME"), (128, 28, 28, 32), (4, 8, 8, 4)
    ),
}
