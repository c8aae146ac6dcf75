"""Containers."""

import jax
import jax.numpy as jnp
import numpy as np

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
from fnn.dtypes import check_inexact, parameter_dtype
from fnn.layer import Layer, pure

from .rows import LayerRow


def product() -> Layer:
    """x₁ · x₂, for a tuple of two."""

    def forward(params, x):
        check_inexact(x[0])
        if x[0].shape != x[1].shape:
            raise ValueError(f"product: expected one shape twice, got {x[0].shape}, {x[1].shape}")
        return x[0] * x[1], x

    def backward(params, cache, dy):
        dy = dy.astype(cache[0].dtype)
        return params, (dy * cache[1], dy * cache[0])

    return pure("product", forward, backward)


def cell() -> Layer:
    """c ← tanh(w c + x), y = c: the smallest recurrence."""

    def init(key, x):
        return jax.random.normal(key, x[0].shape[1:], parameter_dtype(x[0]))

    def forward(w, x):
        check_inexact(x[1])
        before, x = x
        if x.shape[1:] != w.shape or before.shape != x.shape:
            raise ValueError(f"cell: expected x (N, {w.size}) twice, got {before.shape}, {x.shape}")
        c = jnp.tanh(jnp.broadcast_to(w.astype(x.dtype), x.shape) * before + x)
        return (c, c), (before, c)

    def backward(w, cache, dy):
        before, c = cache
        d = (dy[0].astype(c.dtype) + dy[1].astype(c.dtype)) * (1 + c) * (1 - c)
        dw = (d * before).sum(axis=0).astype(w.dtype)
        return dw, (d * jnp.broadcast_to(w.astype(c.dtype), d.shape), d)

    return pure("cell", forward, backward, init)


def nothing(x):
    """The carry before the first step."""
    return jnp.zeros(x.shape, x.dtype)


def _normal(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.normal(size=shape).astype(np.float32)


LAYERS = {
    "chain": LayerRow(lambda: chain(layers.linear(4), layers.tanh(), out=layers.linear(2)), (4, 3)),
    "parallel": LayerRow(
        lambda: parallel(a=layers.linear(4), b=chain(layers.tanh(), layers.linear(2))), (4, 3)
    ),
    "residual": LayerRow(
        lambda: residual(chain(layers.linear(3), layers.tanh(), layers.dropout(0.2))), (4, 3)
    ),
    "residual with a shortcut": LayerRow(
        lambda: residual(layers.linear(5), shortcut=layers.linear(5, bias=False)), (4, 3)
    ),
    "concatenate": LayerRow(lambda: concatenate(layers.linear(2), layers.tanh(), axis=1), (4, 3)),
    # A node that two take, one that comes before what it takes, and two outputs on one way.
    "graph": LayerRow(
        lambda: graph(
            {
                "y": (product(), "b", "c"),
                "a": (layers.linear(3), "x"),
                "b": (layers.tanh(), "a"),
                "c": (layers.linear(3), "b"),
            },
            outputs=("b", "y"),
        ),
        (4, 3),
    ),
    "graph of two inputs": LayerRow(
        lambda: graph({"a": (layers.tanh(), "u"), "y": (product(), "a", "v")}, inputs=("u", "v")),
        lambda rng: (_normal(rng, 4, 3), _normal(rng, 4, 3)),
    ),
    "repeat": LayerRow(
        lambda: repeat(chain(layers.linear(3), layers.tanh(), layers.dropout(0.2)), 3), (4, 3)
    ),
    "repeat with state": LayerRow(
        lambda: repeat(layers.batch_norm(), 2), (8, 3), refuses_empty_batch=True
    ),
    "remat": LayerRow(
        lambda: remat(chain(layers.linear(3), layers.tanh(), layers.dropout(0.2))), (4, 3)
    ),
    "frozen": LayerRow(lambda: frozen(chain(layers.linear(3), layers.tanh())), (4, 3)),
    # The widest dtype there is: in one that rounds, no gradient is exact.
    "mixed": LayerRow(lambda: mixed(chain(layers.linear(3), layers.tanh()), jnp.float64), (4, 3)),
    "over_time": LayerRow(
        lambda: over_time(cell()), lambda rng: (_normal(rng, 2, 3), _normal(rng, 2, 4, 3))
    ),
    "over_time, reverse, of lengths": LayerRow(
        lambda: over_time(cell(), reverse=True, lengths=True, initial=nothing),
        lambda rng: (_normal(rng, 2, 4, 3), np.array([2, 4], np.int32)),
    ),
    "shared": LayerRow(
        lambda: shared(
            chain(layers.linear(4), layers.tanh(), out=layers.linear(3, bias=False)),
            {"out/w": transposed("linear_1/w")},
        ),
        (4, 3),
    ),
}
