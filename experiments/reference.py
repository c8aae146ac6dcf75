"""Raw JAX, as an ordinary user writes it: what the workloads of `experiments.workloads` are held against.

Parameters are lists of dictionaries that NumPy draws, the gradient is `jax.value_and_grad`'s. It
imports nothing of fnn, so that its start-up is its own.
"""

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

Params = list[dict[str, jax.Array]]
Stats = list[dict[str, jax.Array]]


def mlp_params(sizes: Sequence[int], rng: np.random.Generator) -> Params:
    """He-normal weights and zero biases for each pair of neighbouring sizes."""
    return [
        {
            "w": jnp.asarray((rng.standard_normal((i, o)) * np.sqrt(2 / i)).astype(np.float32)),
            "b": jnp.asarray(np.zeros(o, np.float32)),
        }
        for i, o in pairwise(sizes)
    ]


def mlp_loss(params: Params, stats: Stats, x: jax.Array, labels: jax.Array) -> Any:
    """The mean cross-entropy of an MLP with ReLUs, and the statistics, of which it has none."""
    for layer in params[:-1]:
        x = jax.nn.relu(x @ layer["w"] + layer["b"])
    return cross_entropy(x @ params[-1]["w"] + params[-1]["b"], labels), stats


def cross_entropy(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """The mean of -log softmax(logits)[label]."""
    log_p = jax.nn.log_softmax(logits)
    return -jnp.take_along_axis(log_p, labels[:, None], axis=1).mean()


_CHANNELS = ((1, 32), (32, 32), (32, 64), (64, 64))


def convnet_params(rng: np.random.Generator) -> tuple[Params, Stats]:
    """Four 3x3 convolutions and two dense layers, batch-normalized but for the last; 28x28x1 images."""

    def kernel(*shape: int) -> jax.Array:
        scale = np.sqrt(2 / np.prod(shape[:-1]))
        return jnp.asarray((rng.standard_normal(shape) * scale).astype(np.float32))

    def norm(size: int) -> dict[str, jax.Array]:
        return {
            "scale": jnp.asarray(np.ones(size, np.float32)),
            "bias": jnp.asarray(np.zeros(size, np.float32)),
        }

    params = [{"w": kernel(3, 3, i, o), **norm(o)} for i, o in _CHANNELS]
    params.append({"w": kernel(7 * 7 * 64, 128), **norm(128)})
    params.append({"w": kernel(128, 10), "b": jnp.asarray(np.zeros(10, np.float32))})
    stats = [
        {"mean": jnp.asarray(np.zeros(o, np.float32)), "var": jnp.asarray(np.ones(o, np.float32))}
        for o in [*(o for _, o in _CHANNELS), 128]
    ]
    return params, stats


def convnet_loss(params: Params, stats: Stats, x: jax.Array, labels: jax.Array) -> Any:
    """The mean cross-entropy of the convnet in its training pass, and the next running statistics."""
    new_stats = []
    for i, layer in enumerate(params[:-1]):
        if i < 4:
            x = jax.lax.conv_general_dilated(
                x, layer["w"], (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
            )
        else:
            x = x.reshape(x.shape[0], -1) @ layer["w"]
        x, stat = _batch_norm(x, layer["scale"], layer["bias"], stats[i])
        new_stats.append(stat)
        x = jax.nn.relu(x)
        if i in (1, 3):
            x = jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")
    return cross_entropy(x @ params[-1]["w"] + params[-1]["b"], labels), new_stats


def _batch_norm(
    x: jax.Array, scale: jax.Array, bias: jax.Array, stat: dict[str, jax.Array]
) -> tuple[jax.Array, dict[str, jax.Array]]:
    axes = tuple(range(x.ndim - 1))
    mean, var = x.mean(axis=axes), x.var(axis=axes)
    y = (x - mean) * jax.lax.rsqrt(var + 1e-5) * scale + bias
    running = {
        "mean": 0.9 * stat["mean"] + 0.1 * mean,
        "var": 0.9 * stat["var"] + 0.1 * var,
    }
    return y, running


def adam_init(params: Params) -> Any:
    """Adam's state: the step and two moments."""
    zeros = jax.tree.map(lambda p: jnp.asarray(np.zeros(p.shape, np.float32)), params)
    return jnp.asarray(np.zeros((), np.int32)), zeros, jax.tree.map(jnp.array, zeros)


def make_step(
    loss: Callable[..., Any], rate: float = 1e-3, weight_decay: float = 0.0
) -> Callable[..., Any]:
    """``step(params, stats, adam, x, labels) -> (params, stats, adam, loss)``, not yet compiled.

    Adam, and with a `weight_decay` AdamW.
    """

    def step(params: Params, stats: Stats, adam: Any, x: jax.Array, labels: jax.Array) -> Any:
        (value, stats), grads = jax.value_and_grad(loss, has_aux=True)(params, stats, x, labels)
        count, mean, square = adam
        count = count + 1
        mean = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, mean, grads)
        square = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g * g, square, grads)
        t = count.astype(jnp.float32)
        m_scale, v_scale = 1 / (1 - 0.9**t), 1 / (1 - 0.999**t)

        def moved(p: jax.Array, m: jax.Array, v: jax.Array) -> jax.Array:
            direction = (m * m_scale) / (jnp.sqrt(v * v_scale) + 1e-8)
            return p - rate * (direction + weight_decay * p if weight_decay else direction)

        params = jax.tree.map(moved, params, mean, square)
        return params, stats, (count, mean, square), value

    return step
