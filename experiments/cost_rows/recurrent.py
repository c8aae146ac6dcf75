"""Embeddings and recurrent networks, against loops with the projection of the input in front."""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from experiments.cost_rows.row import CostRow, Drawn
from fnn import layers
from fnn.compose import bidirectional
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


def gru_before_step(params: PyTree, carry: PyTree, a: jax.Array) -> PyTree:
    """A step of a GRU whose reset gate acts before the product, as in the paper."""
    h, unused = carry
    units = h.shape[-1]
    a_r, a_z, a_n = jnp.split(a, 3, axis=-1)
    q_r, q_z = jnp.split(h @ params.w_h[:, : 2 * units], 2, axis=-1)
    r, z = jax.nn.sigmoid(a_r + q_r), jax.nn.sigmoid(a_z + q_z)
    n = jnp.tanh(a_n + (r * h) @ params.w_h[:, 2 * units :])
    return (1 - z) * n + z * h, unused


def both_ways(params: PyTree, x: jax.Array) -> jax.Array:
    """Two LSTMs, one on the sequence turned around."""
    run = over_time(lstm_step)
    turned = jnp.flip(run(params["reverse"], jnp.flip(x, axis=1)), axis=1)
    return jnp.concatenate([run(params["forward"], x), turned], axis=-1)


def lstm_once(params: PyTree, x: PyTree) -> PyTree:
    """One step, its product of the input included."""
    carry, x = x
    h, c = lstm_step(params, carry, x @ params.w_x + params.b)
    return layers.LSTMCarry(h, c), h


def once(step: Callable[..., PyTree]) -> Callable[[PyTree, PyTree], PyTree]:
    """One step of a network without a cell."""

    def run(params: PyTree, x: PyTree) -> PyTree:
        carry, x = x
        h, _ = step(params, (carry.h, ()), x @ params.w_x + params.b)
        return layers.HiddenCarry(h), h

    return run


def carried(carry: Callable[..., PyTree], arrays: int, *shape: int) -> Drawn:
    """A carry of so many arrays, and an input as wide."""

    def draw(rng: np.random.Generator) -> PyTree:
        h = [rng.standard_normal(shape, np.float32) for _ in range(arrays)]
        return carry(*h), rng.standard_normal(shape, np.float32)

    return draw


def cell(
    build: Callable[..., Layer],
    carry: Callable[..., PyTree],
    arrays: int,
    plain: Callable[[PyTree, PyTree], PyTree],
) -> CostRow:
    """Many units, one step."""
    draw = partial(carried, carry, arrays)
    return CostRow(build(UNITS), draw(32, UNITS), draw(4, UNITS), plain)


def row(build: Callable[..., Layer], step: Callable[..., PyTree]) -> CostRow:
    """Many units."""
    return CostRow(build(UNITS), REAL, SMALL, over_time(step))


ROWS = {
    "embedding 65": CostRow(layers.embedding(65, 128), ids(65, 32, 128), ids(65, 8, 8), rows),
    "embedding 8192": CostRow(layers.embedding(8192, 256), ids(8192, 2048), ids(8192, 64), rows),
    "rnn": row(layers.rnn, rnn_step),
    "lstm": row(layers.lstm, lstm_step),
    "gru": row(layers.gru, gru_step),
    "gru, reset before": row(partial(layers.gru, reset="before"), gru_before_step),
    "bidirectional lstm": CostRow(
        bidirectional(partial(layers.lstm, UNITS)), REAL, (2, 3, 4), both_ways
    ),
    "rnn_cell": cell(layers.rnn_cell, layers.HiddenCarry, 1, once(rnn_step)),
    "lstm_cell": cell(layers.lstm_cell, layers.LSTMCarry, 2, lstm_once),
    "gru_cell": cell(
        layers.gru_cell,
        layers.HiddenCarry,
        1,
        once(gru_step),
    ),
    "lstm of few units": CostRow(layers.lstm(FEW), SMALL, SMALL, over_time(lstm_step)),
    "lstm of a long sequence": CostRow(
        layers.lstm(128), (64, 128, 64), SMALL, over_time(lstm_step)
    ),
}
