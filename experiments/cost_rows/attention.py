"""Attention and positions."""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from experiments.cost_rows.row import CostRow
from fnn import layers, models
from fnn.layer import PyTree

COPY = "no arithmetic: a copy"
MEMORY_BOUND = "one pass over memory either way"


def _qkv(*shape: int) -> Callable[[np.random.Generator], PyTree]:
    return lambda rng: tuple(rng.standard_normal(shape, np.float32) for _ in range(3))


def _drawn(*shapes: tuple[int, ...], keys: int | None = None) -> Callable[..., PyTree]:
    """Normal numbers of each shape, and after them how many keys each example has, of so many at most."""

    def draw(rng: np.random.Generator) -> PyTree:
        arrays = [rng.standard_normal(shape, np.float32) for shape in shapes]
        if keys is not None:
            arrays.append(rng.integers(keys // 2, keys, shapes[0][:1], np.int32, endpoint=True))
        return tuple(arrays)

    return draw


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


def _of_jax_with_lengths(params: PyTree, x: PyTree) -> jax.Array:
    del params  # there are none
    q, k, v, lengths = x
    return jax.nn.dot_product_attention(q, k, v, key_value_seq_lengths=lengths)


def _of_memory(params: PyTree, x: PyTree) -> jax.Array:
    """Queries from x, keys and values from the memory, with four heads."""
    x, memory = x
    heads = (4, x.shape[-1] // 4)
    q = (x @ params.w_query + params.b_query).reshape(*x.shape[:2], *heads)
    w = jnp.concatenate([params.w_key, params.w_value], axis=-1)
    b = jnp.concatenate([jnp.zeros_like(params.b_value), params.b_value])
    kv = (memory @ w + b).reshape(*memory.shape[:2], 2, *heads)
    o = jax.nn.dot_product_attention(q, kv[:, :, 0], kv[:, :, 1])
    return o.reshape(x.shape) @ params.w_out + params.b_out


def _layer_norm(params: PyTree, x: jax.Array) -> jax.Array:
    mean, var = x.mean(-1, keepdims=True), x.var(-1, keepdims=True)
    y = (x - mean) * jax.lax.rsqrt(var + jnp.asarray(1e-5, x.dtype))
    return y * params.scale + params.bias


def _transformer_block(params: PyTree, x: jax.Array) -> jax.Array:
    """Causal, with four heads."""
    p = params["attention"]["body"]
    x = x + _multi_head(p["attend"], _layer_norm(p["norm"], x))
    p = params["mlp"]["body"]
    wide = jax.nn.gelu(_layer_norm(p["norm"], x) @ p["expand"].w + p["expand"].b)
    return x + (wide @ p["project"].w + p["project"].b)


def _angles(time: int, width: int) -> np.ndarray:
    return np.arange(time)[:, None] * 1e4 ** (-2 * np.arange(width // 2) / width)


def _waves(params: PyTree, x: jax.Array) -> jax.Array:
    """A table that is made once, with NumPy."""
    del params  # there are none
    angles = _angles(*x.shape[1:])
    table = np.stack([np.sin(angles), np.cos(angles)], axis=-1).reshape(x.shape[1:])
    return x + jnp.asarray(table, x.dtype)


def _turned(params: PyTree, x: jax.Array) -> jax.Array:
    """With every second feature, as in the paper."""
    del params  # there are none
    angles = _angles(x.shape[1], x.shape[3])[:, None]
    cos, sin = (jnp.asarray(a, x.dtype) for a in (np.cos(angles), np.sin(angles)))
    a, b = x[..., ::2], x[..., 1::2]
    return jnp.stack([a * cos - b * sin, a * sin + b * cos], axis=-1).reshape(x.shape)


def _turned_halves(params: PyTree, x: jax.Array) -> jax.Array:
    """With the features half the width away, as in the published language models."""
    del params  # there are none
    angles = _angles(x.shape[1], x.shape[3])[:, None]
    cos, sin = (
        jnp.asarray(np.concatenate([a, a], axis=-1), x.dtype)
        for a in (np.cos(angles), np.sin(angles))
    )
    a, b = jnp.split(x, 2, axis=-1)
    return x * cos + jnp.concatenate([-b, a], axis=-1) * sin


def _patches(params: PyTree, x: jax.Array) -> jax.Array:
    """Squares of four pixels."""
    del params  # there are none
    n, h, w, c = x.shape
    return jnp.einsum("nhpwqc->nhwpqc", x.reshape(n, h // 4, 4, w // 4, 4, c)).reshape(
        n, h * w // 16, 16 * c
    )


def _class_token(params: PyTree, x: jax.Array) -> jax.Array:
    token = jnp.broadcast_to(params.token, (x.shape[0], 1, x.shape[2]))
    return jnp.concatenate([token, x], axis=1)


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
    "attention of grouped queries": CostRow(
        layers.attention(causal=True),
        _drawn((32, 128, 4, 32), (32, 128, 2, 32), (32, 128, 2, 32)),
        _drawn((2, 8, 4, 4), (2, 8, 2, 4), (2, 8, 2, 4)),
        _of_jax(causal=True),
    ),
    "attention of lengths": CostRow(
        layers.attention(),
        _drawn(*[(32, 128, 4, 32)] * 3, keys=128),
        _drawn(*[(2, 8, 2, 4)] * 3, keys=8),
        _of_jax_with_lengths,
    ),
    "attention of other keys": CostRow(
        layers.attention(),
        _drawn((32, 128, 4, 32), *[(32, 64, 4, 32)] * 2),
        _drawn((2, 8, 2, 4), *[(2, 5, 2, 4)] * 2),
        _of_jax(causal=False),
    ),
    "multi_head_attention of a memory": CostRow(
        layers.multi_head_attention(4),
        _drawn((32, 128, 128), (32, 64, 96)),
        _drawn((2, 8, 16), (2, 5, 12)),
        _of_memory,
    ),
    "multi_head_attention": CostRow(
        layers.multi_head_attention(4, causal=True), (32, 128, 128), (2, 8, 16), _multi_head
    ),
    "transformer_block": CostRow(
        models.transformer_block(128, 4, causal=True),
        (32, 128, 128),
        (2, 8, 128),
        _transformer_block,
    ),
    "learned_positions": CostRow(
        layers.learned_positions(128),
        (32, 128, 128),
        (2, 8, 16),
        lambda p, x: x + p.table[: x.shape[1]],
        reason=MEMORY_BOUND,
    ),
    "sinusoidal_positions": CostRow(
        layers.sinusoidal_positions(),
        (32, 128, 128),
        (2, 8, 16),
        _waves,
        reason=MEMORY_BOUND,
    ),
    "rotary": CostRow(layers.rotary(), (32, 128, 4, 32), (2, 8, 2, 4), _turned),
    "rotary, halves": CostRow(
        layers.rotary(pairs="halves"), (32, 128, 4, 32), (2, 8, 2, 4), _turned_halves
    ),
    "patches": CostRow(layers.patches(4), (128, 32, 32, 3), (2, 8, 8, 2), _patches, reason=COPY),
    "class_token": CostRow(
        layers.class_token(), (128, 64, 128), (2, 8, 16), _class_token, reason=COPY
    ),
    "token_at": CostRow(
        layers.token_at(0), (128, 64, 128), (2, 8, 16), lambda _, x: x[:, 0], reason=COPY
    ),
    "mean_token": CostRow(
        layers.mean_token(),
        (128, 64, 128),
        (2, 8, 16),
        lambda _, x: x.mean(axis=1),
        reason=MEMORY_BOUND,
    ),
}
