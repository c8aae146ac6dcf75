"""Raw JAX's GPT, as an expert writes it: what W3 of `experiments.workloads` is held against.

One product for the query, key and value, attention by einsum and softmax, log-softmax and take; the
gradient is `jax.value_and_grad`'s. It imports nothing of fnn.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

Params = dict[str, Any]


def gpt_params(
    vocabulary: int, context: int, layers: int, width: int, rng: np.random.Generator
) -> Params:
    """Matrices from N(0, 0.02²), biases 0, norms 1."""

    def kernel(*shape: int) -> jax.Array:
        return jnp.asarray((0.02 * rng.standard_normal(shape)).astype(np.float32))

    def zeros(size: int) -> jax.Array:
        return jnp.asarray(np.zeros(size, np.float32))

    def norm() -> Params:
        return {"scale": jnp.asarray(np.ones(width, np.float32)), "bias": zeros(width)}

    def block() -> Params:
        return {
            "norm_1": norm(),
            "qkv": {"w": kernel(width, 3 * width), "b": zeros(3 * width)},
            "out": {"w": kernel(width, width), "b": zeros(width)},
            "norm_2": norm(),
            "expand": {"w": kernel(width, 4 * width), "b": zeros(4 * width)},
            "project": {"w": kernel(4 * width, width), "b": zeros(width)},
        }

    return {
        "tokens": kernel(vocabulary, width),
        "positions": kernel(context, width),
        "blocks": [block() for _ in range(layers)],
        "norm": norm(),
        "logits": kernel(width, vocabulary),
    }


def gpt_loss(params: Params, stats: Any, ids: jax.Array, targets: jax.Array) -> Any:
    """The mean cross-entropy of the next token, with four heads, and the statistics: there are none."""
    x = params["tokens"][ids] + params["positions"][: ids.shape[1]]
    for block in params["blocks"]:
        x = x + _dense(block["out"], _attention(_dense(block["qkv"], _norm(block["norm_1"], x))))
        hidden = jax.nn.gelu(_dense(block["expand"], _norm(block["norm_2"], x)))
        x = x + _dense(block["project"], hidden)
    log_p = jax.nn.log_softmax(_norm(params["norm"], x) @ params["logits"])
    return -jnp.take_along_axis(log_p, targets[..., None], axis=-1).mean(), stats


def _dense(params: Params, x: jax.Array) -> jax.Array:
    return x @ params["w"] + params["b"]


def _norm(params: Params, x: jax.Array) -> jax.Array:
    mean, var = x.mean(axis=-1, keepdims=True), x.var(axis=-1, keepdims=True)
    return (x - mean) * jax.lax.rsqrt(var + 1e-5) * params["scale"] + params["bias"]


def _attention(qkv: jax.Array, heads: int = 4) -> jax.Array:
    batch, time, width = qkv.shape[0], qkv.shape[1], qkv.shape[2] // 3
    q, k, v = jnp.moveaxis(qkv.reshape(batch, time, 3, heads, width // heads), 2, 0)
    scores = jnp.einsum("bthd,bshd->bhts", q, k) / np.sqrt(width // heads).astype(np.float32)
    past = jnp.tril(jnp.ones((time, time), bool))
    weights = jax.nn.softmax(jnp.where(past, scores, -jnp.inf))
    return jnp.einsum("bhts,bshd->bthd", weights, v).reshape(batch, time, width)
