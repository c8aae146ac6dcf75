"""Losses."""

import jax
import jax.numpy as jnp
import numpy as np

from experiments.cost_rows.row import LossCostRow
from fnn import losses
from fnn.layer import PyTree


def _labels(prediction: jax.Array, rng: np.random.Generator) -> np.ndarray:
    return rng.integers(0, prediction.shape[-1], prediction.shape[:-1], np.int32)


def _log_softmax_and_take(prediction: jax.Array, labels: PyTree) -> jax.Array:
    logarithms = jax.nn.log_softmax(prediction)
    return -jnp.take_along_axis(logarithms, labels[:, None], axis=-1)[:, 0]


ROWS = {
    "softmax_cross_entropy": LossCostRow(
        losses.softmax_cross_entropy(), (4096, 65), (16, 10), _labels, _log_softmax_and_take
    ),
}
