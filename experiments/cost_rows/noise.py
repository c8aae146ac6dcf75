"""Layers that draw: the opponent keeps its mask or its noise for the backward pass."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from experiments.cost_rows.row import CostRow
from fnn import compose, layers
from fnn.layer import Layer, PyTree

KEY = jax.random.key(0)
AS_DRAWN = jax.random.key(1)  # with which the opponent's one draw comes out as the layer's


def _mask(keep: float, shape: Callable[[jax.Array], tuple[int, ...]]) -> Callable[..., PyTree]:
    def run(params: PyTree, x: jax.Array) -> jax.Array:
        del params
        mask = jnp.broadcast_to(jax.random.bernoulli(KEY, keep, shape(x)), x.shape)
        return jnp.where(mask, x / keep, 0)

    return run


def _alpha(params: PyTree, x: jax.Array) -> jax.Array:
    del params
    off, keep = -1.7580993408473766, 0.9
    a = (keep + off**2 * keep * (1 - keep)) ** -0.5
    mask = jax.random.bernoulli(KEY, keep, x.shape)
    return a * jnp.where(mask, x, off) - a * (1 - keep) * off


def _times_noise(params: PyTree, x: jax.Array) -> jax.Array:
    del params
    return x * (1 + jax.random.normal(KEY, x.shape, x.dtype))


def _plus_noise(params: PyTree, x: jax.Array) -> jax.Array:
    del params
    return x + 0.5 * jax.random.normal(KEY, x.shape, x.dtype)


def _connect(of_each: bool) -> Callable[..., PyTree]:
    def run(params: PyTree, x: jax.Array) -> jax.Array:
        w, b = (leaf / 0.5 for leaf in params)
        rows = x.shape[0] if of_each else 1
        mask = jax.random.bernoulli(KEY, 0.5, (rows, w.shape[0] + 1, w.shape[1]))
        masked = jnp.where(mask[:, :-1], w[None], 0)
        product = jnp.einsum("nd,ndf->nf", x, masked) if of_each else x @ masked[0]
        return product + jnp.where(mask[:, -1], b[None], 0)

    return run


def _block() -> Layer:
    return compose.chain(layers.linear(256), layers.tanh(), layers.linear(256))


def _plain_block(params: PyTree, x: jax.Array) -> jax.Array:
    up, down = params["body"]["linear_1"], params["body"]["linear_2"]
    return jnp.tanh(x @ up.w + up.b) @ down.w + down.b


def _depth(params: PyTree, x: jax.Array) -> jax.Array:
    mask = jax.random.bernoulli(KEY, 0.5, (x.shape[0], 1))
    return x + jnp.where(mask, _plain_block(params, x), 0)


def _depth_per_batch(params: PyTree, x: jax.Array) -> jax.Array:
    kept = jax.random.bernoulli(AS_DRAWN, 0.5)
    return x + jax.lax.cond(kept, _plain_block, lambda _, x: jnp.zeros_like(x), params, x)


ROWS = {
    "dropout": CostRow(
        layers.dropout(0.5),
        (128, 4096),
        (32, 16),
        _mask(0.5, lambda x: x.shape),
        distance=None,
    ),
    "spatial_dropout": CostRow(
        layers.spatial_dropout(0.5),
        (128, 28, 28, 32),
        (4, 4, 4, 4),
        _mask(0.5, lambda x: (x.shape[0], 1, 1, x.shape[-1])),
        distance=None,
    ),
    "alpha_dropout": CostRow(
        layers.alpha_dropout(0.1), (128, 4096), (32, 16), _alpha, distance=None
    ),
    "gaussian_dropout": CostRow(layers.gaussian_dropout(0.5), (128, 4096), (32, 16), _times_noise),
    "gaussian_noise": CostRow(layers.gaussian_noise(0.5), (128, 4096), (32, 16), _plus_noise),
    "dropconnect": CostRow(
        layers.dropconnect(128, 0.5), (32, 256), (8, 16), _connect(True), distance=None
    ),
    "dropconnect, one mask": CostRow(
        layers.dropconnect(512, 0.5, mask="batch"),
        (128, 784),
        (8, 16),
        _connect(False),
        distance=None,
    ),
    "stochastic_depth": CostRow(
        compose.stochastic_depth(_block(), 0.5), (128, 256), (8, 256), _depth, distance=None
    ),
    "stochastic_depth per batch": CostRow(
        compose.stochastic_depth(_block(), 0.5, per="batch"), (128, 256), (8, 256), _depth_per_batch
    ),
}
