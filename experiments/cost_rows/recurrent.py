"""Embeddings and recurrent networks, against loops with the projection of the input in front."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from experiments.cost_rows.row import CostRow
from fnn import layers
from fnn.layer import Layer, PyTree

REAL, SMALL = (32, 64, 128), (8, 16, 16)  # N, T, D
UNITS, FEW = 256, 16


def ids(vocabulary: int, *shape: int) -> Callable[[np.random.Generator], np.ndarray]:
    """Ids, all as likely."""
    return lambda rng: rng.integers(0, vocabulary, shape, np.int32)


def rows(params: PyTree, x: jax.Array) -> jax.Array:
    """Rows of a table."""
    return params.table[x]


def over_time(step: Callable[[PyTree, PyTree, jax.Array], PyTree]) -> Callable[..., jax.Array]:
    """The plain loop: one product for the input of all steps, then a scan over time."""

    def run(params: PyTree, x: jax.Array) -> jax.Array:
        a = x @ params.w_x + params.b
        zero = jnp.zeros((x.shape[0], params.w_h.shape[0]), x.dtype)
        carry = (zero, zero)  # a network without a cell ignores the second

        def body(carry: PyTree, a_t: jax.Array) -> tuple[PyTree, jax.Array]:
            carry = step(params, carry, a_t)
            return carry, carry[0]

        return jax.lax.scan(body, carry, a.swapaxes(0, 1))[1].swapaxes(0, 1)

    return run


def rnn_step(params: PyTree, carry: PyTree, a: jax.Array) -> PyTree:
    """A step of a simple recurrent network."""
    h, unused = carry
    return jnp.tanh(a + h @ params.w_h), unused


def lstm_step(params: PyTree, carry: PyTree, a: jax.Array) -> PyTree:
    """A step of an LSTM."""
    h, c = carry
    i, f, g, o = jnp.split(a + h @ params.w_h, 4, axis=-1)
    c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
    return jax.nn.sigmoid(o) * jnp.tanh(c), c


def gru_step(params: PyTree, carry: PyTree, a: jax.Array) -> PyTree:
    """A step of a GRU whose reset gate acts after the product."""
    h, unused = carry
    a_r, a_z, a_n = jnp.split(a, 3, axis=-1)
    q_r, q_z, q_n = jnp.split(h @ params.w_h, 3, axis=-1)
    r, z = jax.nn.sigmoid(a_r + q_r), jax.nn.sigmoid(a_z + q_z)
    n = jnp.tanh(a_n + r * (q_n + params.b_h))
    return (1 - z) * n + z * h, unused


def row(build: Callable[..., Layer], step: Callable[..., PyTree]) -> CostRow:
    """Many units."""
    return CostRow(build(UNITS), REAL, SMALL, over_time(step))


ROWS = {
    "embedding 65": CostRow(layers.embedding(65, 128), ids(65, 32, 128), ids(65, 8, 8), rows),
    "embedding 8192": CostRow(layers.embedding(8192, 256), ids(8192, 2048), ids(8192, 64), rows),
    "rnn": row(layers.rnn, rnn_step),
    "lstm": row(layers.lstm, lstm_step),
    "gru": row(layers.gru, gru_step),
    "lstm of few units": CostRow(layers.lstm(FEW), SMALL, SMALL, over_time(lstm_step)),
    "lstm of a long sequence": CostRow(
        layers.lstm(128), (64, 128, 64), SMALL, over_time(lstm_step)
    ),
}
