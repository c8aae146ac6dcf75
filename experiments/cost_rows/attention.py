"""Attention and positions."""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from experiments.cost_rows.row import CostRow
from fnn import layers, models
from fnn.layer import PyTree


def _qkv(*shape: int) -> Callable[[np.random.Generator], PyTree]:
    return lambda rng: tuple(rng.standard_normal(shape, np.float32) for _ in range(3))


def _of_jax(*, causal: bool) -> Callable[[PyTree, PyTree], jax.Array]:
    """What people call."""

    def plain(params: PyTree, x: PyTree) -> jax.Array:
        del params  # there are none
        return jax.nn.dot_product_attention(*x, is_causal=causal)

    return plain


def _einsum(params: PyTree, x: PyTree) -> jax.Array:
    """What experts write themselves: faster than `jax.nn` for short sequences."""
    del params  # there are none
    q, k, v = x
    scores = jnp.einsum("bthd,bshd->bhts", q, k) * (1 / math.sqrt(q.shape[-1]))
    past = jnp.tril(jnp.ones(scores.shape[-2:], bool))
    weights = jax.nn.softmax(jnp.where(past, scores, -jnp.inf))
    return jnp.einsum("bhts,bshd->bthd", weights, v)


def _multi_head(params: PyTree, x: jax.Array) -> jax.Array:
    """Causal, with four heads."""
    w = jnp.concatenate(params[:3], axis=-1)
    b = jnp.concatenate([params.b_query, jnp.zeros_like(params.b_query), params.b_value])
    batch, time, width = x.shape
    qkv = (x @ w + b).reshape(batch, time, 3, 4, width // 4)
    o = _einsum((), (qkv[:, :, 0], qkv[:, :, 1], qkv[:, :, 2]))
    return o.reshape(batch, time, width) @ params.w_out + params.b_out


ROWS = {
    "attention T 128": CostRow(
        layers.attention(causal=True), _qkv(32, 128, 4, 32), _qkv(2, 8, 2, 4), _of_jax(causal=True)
    ),
    "attention T 128 / einsum": CostRow(
        layers.attention(causal=True), _qkv(32, 128, 4, 32), _qkv(2, 8, 2, 4), _einsum
    ),
    "attention T 2048": CostRow(
        layers.attention(causal=True), _qkv(1, 2048, 4, 64), _qkv(1, 16, 2, 4), _of_jax(causal=True)
    ),
    "attention T 1024, not causal": CostRow(
        layers.attention(), _qkv(2, 1024, 4, 64), _qkv(2, 16, 2, 4), _of_jax(causal=False)
    ),
    "multi_head_attention": CostRow(
        layers.multi_head_attention(4, causal=True), (32, 128, 128), (2, 8, 16), _multi_head
    ),
    "transformer_block": CostRow(
        models.transformer_block(128, 4, causal=True), (32, 128, 128), (2, 8, 128)
    ),
    "learned_positions": CostRow(layers.learned_positions(128), (32, 128, 128), (2, 8, 16)),
    "sinusoidal_positions": CostRow(layers.sinusoidal_positions(), (32, 128, 128), (2, 8, 16)),
    "rotary": CostRow(layers.rotary(), (32, 128, 4, 32), (2, 8, 2, 4)),
    "rotary, halves": CostRow(layers.rotary(pairs="halves"), (32, 128, 4, 32), (2, 8, 2, 4)),
    "patches": CostRow(layers.patches(4), (128, 32, 32, 3), (2, 8, 8, 2)),
    "class_token": CostRow(layers.class_token(), (128, 64, 128), (2, 8, 16)),
}
