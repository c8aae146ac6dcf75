"""Small layers with a right backward, and the faults that are planted into them.

The layers are written here, so that the checker is tested apart from the zoo. A fault is a function of
(params, cache, dparams, dx, dy) that spoils a right gradient as a person would.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from fnn.layer import pure


class Affine(NamedTuple):
    w: Any
    b: Any


class Scaling(NamedTuple):
    scale: Any
    bias: Any


class Normal(NamedTuple):
    """The cache of a normalization."""

    normal: Any  # x̂
    inverse: Any  # 1 / σ


def affine(features):
    def init(key, x):
        w = jax.random.normal(key, (x.shape[-1], features), jnp.float32) / 3
        return Affine(w, jnp.zeros(features))

    def forward(params, x):
        return x @ params.w + params.b[None, :], x

    def backward(params, x, dy):
        return Affine(x.T @ dy, dy.sum(0)), dy @ params.w.T

    return pure(f"affine({features})", forward, backward, init)


def elementwise(name, function, derivative):
    def backward(params, x, dy):
        return params, dy * derivative(x)

    return pure(name, lambda params, x: (function(x), x), backward)


rectifier = elementwise("rectifier", lambda x: jnp.where(x > 0, x, 0), lambda x: x > 0)
square = elementwise("square", lambda x: x * x, lambda x: 2 * x)
logistic = elementwise("logistic", jax.nn.sigmoid, lambda x: jax.nn.sigmoid(x) * jax.nn.sigmoid(-x))


def softmax_backward(params, y, dy):
    return params, y * (dy - (dy * y).sum(-1, keepdims=True))


soft = pure("soft", lambda params, x: (jax.nn.softmax(x), jax.nn.softmax(x)), softmax_backward)


def normalization(axis):
    """Layer norm over features for axis 1, batch norm over examples for axis 0."""

    def forward(params, x):
        centred = x - x.mean(axis, keepdims=True)
        inverse = 1 / jnp.sqrt((centred**2).mean(axis, keepdims=True) + 1e-5)
        normal = centred * inverse
        return params.scale[None, :] * normal + params.bias[None, :], Normal(normal, inverse)

    def backward(params, cache, dy):
        normal, inverse = cache
        dnormal = dy * params.scale[None, :]
        mean = dnormal.mean(axis, keepdims=True)
        along = (dnormal * normal).mean(axis, keepdims=True)
        dx = inverse * (dnormal - mean - normal * along)
        return Scaling((dy * normal).sum(0), dy.sum(0)), dx

    def init(key, x):
        del key
        return Scaling(jnp.ones(x.shape[1]), jnp.zeros(x.shape[1]))

    return pure("layer_norm" if axis else "batch_norm", forward, backward, init)


layer_norm, batch_norm = normalization(1), normalization(0)

# Two inputs and named parameters: the tree of x is a tuple, that of params a nested dictionary.
gate = pure(
    "gate",
    lambda params, x: (params["in"]["gain"] * x[0] * x[1], x),
    lambda params, x, dy: (
        {"in": {"gain": (dy * x[0] * x[1]).sum()}},
        (params["in"]["gain"] * dy * x[1], params["in"]["gain"] * dy * x[0]),
    ),
    lambda key, x: {"in": {"gain": jnp.ones(())}},
)

# Rows of a table, picked by integers.
lookup = pure(
    "lookup",
    lambda params, x: (params[x], x),
    lambda params, x, dy: (jnp.zeros_like(params).at[x].add(dy), None),
    lambda key, x: jax.random.normal(key, (7, 3), jnp.float32),
)


def spoiled(layer, spoil):
    """`layer` with ``spoil(params, cache, dparams, dx, dy)`` in place of its gradient."""

    def backward(params, cache, dy):
        return spoil(params, cache, *layer.backward(params, cache, dy), dy)

    return layer._replace(backward=backward)


def data(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def with_zeros(*shape):
    x = data(*shape)
    x[::2, ::2] = 0
    return x


class Fault(NamedTuple):
    name: str
    layer: Any
    x: Any
    leaves: set[str]  # exactly those that are wrong
    spoil: Callable[..., Any]
    convention: float | None = None


def _without_projection(params, cache, dparams, dx, dy):
    dnormal = dy * params.scale[None, :]
    return dparams, cache.inverse * (dnormal - dnormal.mean(1, keepdims=True))


def _unbiased(params, cache, dparams, dx, dy):
    n = dy.shape[0]
    dnormal = dy * params.scale[None, :]
    mean, along = dnormal.sum(0, keepdims=True), (dnormal * cache.normal).sum(0, keepdims=True)
    return dparams, cache.inverse * (dnormal - (mean + cache.normal * along) / (n - 1))


def _without_mean(params, cache, dparams, dx, dy):
    dnormal = dy * params.scale[None, :]
    along = (dnormal * cache.normal).mean(0, keepdims=True)
    return dparams, cache.inverse * (dnormal - cache.normal * along)


def _detached_deviation(params, cache, dparams, dx, dy):
    dnormal = dy * params.scale[None, :]
    return dparams, cache.inverse * (dnormal - dnormal.mean(0, keepdims=True))


def _scale_forgotten(params, cache, dparams, dx, dy):
    return dparams, dx / params.scale[None, :]


def _sum_without_y(params, y, dparams, dx, dy):
    s = dy * y
    return dparams, s - s.sum(-1, keepdims=True)


X = data(6, 5)
PAIR = (data(4, 3), data(4, 3, seed=1))

# fmt: off
FAULTS = (
    Fault("a missing term", layer_norm, X, {"x"}, _without_projection),
    Fault("n / (n - 1)", batch_norm, X, {"x"}, _unbiased),
    Fault("bias from one row", affine(4), X, {"params/b"},
          lambda p, c, dp, dx, dy: (dp._replace(b=dy[0]), dx)),
    Fault("transposed weight", affine(5), X, {"x"}, lambda p, c, dp, dx, dy: (dp, dy @ p.w)),
    Fault("0.1 % too large", affine(4), X, {"params/w"},
          lambda p, c, dp, dx, dy: (dp._replace(w=1.001 * dp.w), dx)),
    Fault("sigmoid without dy", logistic, X, {"x"},
          lambda p, x, dp, dx, dy: (dp, jax.nn.sigmoid(x) * jax.nn.sigmoid(-x))),
    Fault("wrong sign", affine(4), X, {"params/b"},
          lambda p, c, dp, dx, dy: (dp._replace(b=-dp.b), dx)),
    Fault("factor 2 missing", square, X, {"x"}, lambda p, c, dp, dx, dy: (dp, dx / 2)),
    Fault("mask >= for >", rectifier, with_zeros(6, 5), {"x"},
          lambda p, x, dp, dx, dy: (dp, dy * (x >= 0)),
          convention=0.0),  # without one, 1 would be as good a derivative at 0
    Fault("softmax: s - sum s", soft, X, {"x"}, _sum_without_y),  # as one lecture note prints it
    Fault("relu without dy", rectifier, X, {"x"},  # as the same note prints it
          lambda p, x, dp, dx, dy: (dp, (x > 0).astype(x.dtype))),
    Fault("no mean term", batch_norm, X, {"x"}, _without_mean),
    Fault("detached deviation", batch_norm, X, {"x"}, _detached_deviation),
    Fault("scale forgotten", layer_norm, X, {"x"}, _scale_forgotten),  # hidden while scale is 1
    Fault("leaves swapped", layer_norm, X, {"params/scale", "params/bias"},
          lambda p, c, dp, dx, dy: (Scaling(dp.bias, dp.scale), dx)),
    Fault("wrong dtype", affine(4), X, {"params/w"},
          lambda p, c, dp, dx, dy: (dp._replace(w=dp.w.astype(jnp.float32)), dx)),
    Fault("wrong shape", affine(4), X, {"params/b"},
          lambda p, c, dp, dx, dy: (dp._replace(b=dp.b[None, :]), dx)),
    Fault("another row's gradient", affine(4), X, {"x"},
          lambda p, c, dp, dx, dy: (dp, jnp.roll(dx, 1, 0))),
    Fault("last example dropped", affine(4), X, {"params/w"},
          lambda p, x, dp, dx, dy: (dp._replace(w=x[:-1].T @ dy[:-1]), dx)),
    Fault("mean for sum", affine(4), X, {"params/b"},
          lambda p, c, dp, dx, dy: (dp._replace(b=dy.mean(0)), dx)),
    Fault("one element wrong", affine(4), X, {"params/w"},
          lambda p, c, dp, dx, dy: (dp._replace(w=dp.w.at[2, 3].multiply(1.01)), dx)),
    Fault("NaN", affine(4), X, {"params/b"},
          lambda p, c, dp, dx, dy: (dp._replace(b=dp.b.at[1].set(jnp.nan)), dx)),
    Fault("inputs swapped", gate, PAIR, {"x/0", "x/1"},
          lambda p, c, dp, dx, dy: (dp, (dx[1], dx[0]))),
    Fault("zero for a deep leaf", gate, PAIR, {"params/in/gain"},
          lambda p, c, dp, dx, dy: ({"in": {"gain": 0 * dp["in"]["gain"]}}, dx)),
    Fault("a leaf left out", gate, PAIR, {"params/in/gain"},
          lambda p, c, dp, dx, dy: ({"in": {}}, dx)),
    Fault("a leaf too many", gate, PAIR, {"params/in/offset"},
          lambda p, c, dp, dx, dy: ({"in": {**dp["in"], "offset": 0 * dy.sum()}}, dx)),
    Fault("no dx", affine(4), X, {"x"}, lambda p, c, dp, dx, dy: (dp, None)),
    Fault("dx for integers", lookup, np.array([1, 4, 4, 0]), {"x"},
          lambda p, x, dp, dx, dy: (dp, jnp.zeros(x.shape))),
    Fault("repeated rows not added", lookup, np.array([1, 4, 4, 0]), {"params"},
          lambda p, x, dp, dx, dy: (jnp.zeros_like(p).at[x].set(dy), dx)),
    Fault("another tree", affine(4), X, {"params"},
          lambda p, c, dp, dx, dy: (dp._asdict(), dx)),
)
# fmt: on
