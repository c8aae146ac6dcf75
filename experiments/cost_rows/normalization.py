"""Normalization, against the forms with `jnp.mean` and `jnp.var` that jax.grad is usually given."""

from typing import Any

import jax
import jax.numpy as jnp

from experiments.cost_rows.row import CostRow
from fnn import layers
from fnn.compose import chain

EPS = 1e-5


def _normalized(x: jax.Array, axes: tuple[int, ...], eps: float = EPS) -> jax.Array:
    mean, var = x.mean(axes, keepdims=True), x.var(axes, keepdims=True)
    return (x - mean) * jax.lax.rsqrt(var + jnp.asarray(eps, x.dtype))


def _affine(params: Any, x: jax.Array) -> jax.Array:
    shape = (1,) * (x.ndim - 1) + (-1,)
    return x * params.scale.reshape(shape) + params.bias.reshape(shape)


def _batch_norm(params: Any, x: jax.Array) -> jax.Array:
    return _affine(params, _normalized(x, tuple(range(x.ndim - 1))))


def _batch_norm_relu(params: Any, x: jax.Array) -> jax.Array:
    return jax.nn.relu(_batch_norm(params["norm"], x))


def _layer_norm(params: Any, x: jax.Array) -> jax.Array:
    return _affine(params, _normalized(x, (x.ndim - 1,)))


def _rms_norm(params: Any, x: jax.Array) -> jax.Array:
    mean_square = (x * x).mean(-1, keepdims=True)
    scale = params.scale.reshape((1,) * (x.ndim - 1) + (-1,))
    return x * jax.lax.rsqrt(mean_square + jnp.asarray(1e-6, x.dtype)) * scale


def _group_norm(params: Any, x: jax.Array) -> jax.Array:
    n, h, w, c = x.shape
    y = _normalized(x.reshape(n, h * w, 8, c // 8), (1, 3))
    return _affine(params, y.reshape(x.shape))


def _instance_norm(params: Any, x: jax.Array) -> jax.Array:
    return _affine(params, _normalized(x, (1, 2)))


def _weight_norm(params: Any, x: jax.Array) -> jax.Array:
    norm = jnp.sqrt((params.direction**2).sum(0, keepdims=True))
    return x @ (params.gain * params.direction / norm) + params.layer.b.reshape(1, -1)


def _spectral_norm(params: Any, state: Any, x: jax.Array) -> jax.Array:
    """With the singular vectors as they are; the renewed ones are not what this row compares."""
    sigma = state.left @ params.w.astype(state.left.dtype) @ state.right
    return x @ (params.w / sigma.astype(params.w.dtype)) + params.layer.b


ROWS = {
    "batch_norm dense": CostRow(layers.batch_norm(), (128, 512), (32, 16), _batch_norm),
    "batch_norm images": CostRow(layers.batch_norm(), (32, 28, 28, 32), (2, 8, 8, 8), _batch_norm),
    "batch_norm + relu images": CostRow(
        chain(norm=layers.batch_norm(), act=layers.relu()),
        (32, 28, 28, 32),
        (2, 8, 8, 8),
        _batch_norm_relu,
    ),
    "batch_norm + relu, 14x14x64": CostRow(
        chain(norm=layers.batch_norm(), act=layers.relu()),
        (128, 14, 14, 64),
        (2, 8, 8, 8),
        _batch_norm_relu,
    ),
    "layer_norm 128": CostRow(layers.layer_norm(), (32, 128, 128), (4, 16, 32), _layer_norm),
    "layer_norm 1024": CostRow(layers.layer_norm(), (2048, 1024), (64, 64), _layer_norm),
    "rms_norm 128": CostRow(layers.rms_norm(), (32, 128, 128), (4, 16, 32), _rms_norm),
    "rms_norm 1024": CostRow(layers.rms_norm(), (2048, 1024), (64, 64), _rms_norm),
    "group_norm 8": CostRow(layers.group_norm(8), (32, 28, 28, 32), (2, 8, 8, 16), _group_norm),
    "instance_norm": CostRow(
        layers.instance_norm(), (32, 28, 28, 32), (2, 8, 8, 16), _instance_norm
    ),
    "weight_norm of linear": CostRow(
        layers.weight_norm(layers.linear(512)), (128, 784), (8, 16), _weight_norm
    ),
    "spectral_norm of linear": CostRow(
        layers.spectral_norm(layers.linear(512)),
        (128, 784),
        (8, 16),
        _spectral_norm,
        takes_state=True,
    ),
}
