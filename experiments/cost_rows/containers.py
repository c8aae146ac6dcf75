"""Containers: what their way of calling the children costs, and what it saves."""

import jax
import jax.numpy as jnp

from experiments.cost_rows.row import CostRow
from fnn import layers
from fnn.compose import (
    chain,
    concatenate,
    frozen,
    graph,
    mixed,
    over_time,
    parallel,
    remat,
    repeat,
    residual,
    shared,
    transposed,
)
from fnn.layer import Layer, PyTree


def _block(width: int) -> Layer:
    return residual(
        chain(up=layers.linear(4 * width), act=layers.tanh(), down=layers.linear(width))
    )


def _plain_block(p: PyTree, x: jax.Array) -> jax.Array:
    p = p["body"]
    return x + (jnp.tanh(x @ p["up"].w + p["up"].b) @ p["down"].w + p["down"].b)


def _scan(params: PyTree, x: jax.Array) -> jax.Array:
    return jax.lax.scan(lambda x, p: (_plain_block(p, x), None), x, params["block"])[0]


def _checkpointed_scan(params: PyTree, x: jax.Array) -> jax.Array:
    body = jax.checkpoint(_plain_block, prevent_cse=False)
    return jax.lax.scan(lambda x, p: (body(p, x), None), x, params["block"])[0]


def _recurrence(params: PyTree, x: jax.Array) -> jax.Array:
    p = params["cell"]

    def step(h: jax.Array, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        h = jnp.tanh(x @ p.w_x + h @ p.w_h + p.b)
        return h, h

    first = jnp.zeros((x.shape[0], p.w_h.shape[0]), x.dtype)
    return jnp.swapaxes(jax.lax.scan(step, first, jnp.swapaxes(x, 0, 1))[1], 0, 1)


def _dense(p: PyTree, x: jax.Array) -> jax.Array:
    return x @ p.w + p.b


def _four_equations(p: PyTree, x: jax.Array) -> jax.Array:
    """The network of the lecture notes."""
    h1, h2 = jax.nn.sigmoid(_dense(p["w1"], x)), jax.nn.relu(_dense(p["w2"], x))
    return _dense(p["w4"], jax.nn.sigmoid(_dense(p["w3"], h1))) + _dense(p["w5"], h2)


def _narrow(params: PyTree, x: jax.Array) -> jax.Array:
    low = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), params)
    return _plain_block(low, x.astype(jnp.bfloat16)).astype(x.dtype)


ROWS = {
    "graph of four equations": CostRow(
        graph(
            {
                "w1": (layers.linear(512), "x"),
                "h1": (layers.sigmoid(), "w1"),
                "w2": (layers.linear(512), "x"),
                "h2": (layers.relu(), "w2"),
                "w3": (layers.linear(512), "h1"),
                "h3": (layers.sigmoid(), "w3"),
                "w4": (layers.linear(64), "h3"),
                "w5": (layers.linear(64), "h2"),
                "y": (layers.add(), "w4", "w5"),
            }
        ),
        (128, 256),
        (4, 8),
        plain=_four_equations,
    ),
    "repeat, 8 blocks": CostRow(repeat(_block(128), 8), (128, 128), (2, 128), plain=_scan),
    "repeat of remat, 8 blocks": CostRow(
        repeat(remat(_block(128)), 8), (128, 128), (2, 128), plain=_checkpointed_scan
    ),
    "mixed, bfloat16": CostRow(
        mixed(_block(128)), (128, 128), (2, 128), plain=_narrow, distance=2.0**-5
    ),
    "frozen": CostRow(
        frozen(_block(128)),
        (128, 128),
        (2, 128),
        plain=lambda _, state, x: _plain_block(state.params, x),
        takes_state=True,
    ),
    "over_time of rnn_cell": CostRow(
        over_time(
            layers.rnn_cell(128),
            initial=lambda x: layers.HiddenCarry(jnp.zeros((x.shape[0], 128), x.dtype)),
        ),
        (32, 64, 128),
        (2, 3, 128),
        plain=_recurrence,
    ),
    "parallel": CostRow(
        parallel(a=layers.linear(256), b=layers.linear(256)),
        (128, 256),
        (4, 8),
        plain=lambda p, x: {"a": _dense(p["a"], x), "b": _dense(p["b"], x)},
    ),
    "concatenate": CostRow(
        concatenate(a=layers.linear(256), b=layers.linear(256)),
        (128, 256),
        (4, 8),
        plain=lambda p, x: jnp.concatenate([_dense(p["a"], x), _dense(p["b"], x)], -1),
    ),
    "shared, transposed": CostRow(
        shared(
            chain(up=layers.linear(512), act=layers.tanh(), down=layers.linear(256)),
            {"down/w": transposed("up/w")},
        ),
        (128, 256),
        (4, 256),
        plain=lambda p, x: jnp.tanh(_dense(p["up"], x)) @ p["up"].w.T + p["down"].b,
    ),
}
