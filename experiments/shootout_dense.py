"""Subjects on vectors: linear, activations, softmax and its kin, the two normalizations, a loss."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.shootout_subjects import (
    Array,
    Arrays,
    Shapes,
    Subject,
    changed,
    held_fixed,
    normal,
    one_element,
    reversed_along,
    scaled,
    transposed,
    without_row,
)

EPSILON = 1e-3  # of the normalizations


def _linear(x: Array, w: Array, b: Array) -> Array:
    return x @ w + b[None, :]


def _linear_backward(args: Arrays, dy: Array) -> Arrays:
    x, w, _ = args
    return dy @ w.T, x.T @ dy, dy.sum(0)


def _linear_draw(
    rng: np.random.Generator, shapes: tuple[tuple[int, ...], ...]
) -> list[np.ndarray[Any, Any]]:
    x, w, b = normal(rng, shapes)
    return [x, w / np.sqrt(len(w)), b]


linear = Subject(
    "linear",
    _linear,
    _linear_backward,
    {
        "db halved": scaled(2, 0.5),
        "db a mean": lambda args, dy, g: (g[0], g[1], dy.mean(0)),
        "db without sum": lambda args, dy, g: (g[0], g[1], dy[0]),
        "dw 0.1 % large": scaled(1, 1.001),
        "dw transposed": transposed(1),
        "dw zero": scaled(1, 0.0),
        "dw last row": without_row(1, -1),
        "dx sign": scaled(0, -1.0),
        "dx one element": one_element(0),
        "dx first row": without_row(0, 0),
        "second order: constants": held_fixed(_linear_backward),
    },
    Shapes(((2, 3), (3, 4), (4,)), ((32, 256), (256, 128), (128,))),
    _linear_draw,
)


def _relu(x: Array) -> Array:
    return jnp.where(x > 0, x, 0)


relu = Subject(
    "relu",
    _relu,
    lambda args, dy: (jnp.where(args[0] > 0, dy, 0),),
    {
        "no upstream": lambda args, dy, g: ((args[0] > 0).astype(dy.dtype),),
        "threshold -0.1": lambda args, dy, g: (jnp.where(args[0] > -0.1, dy, 0),),
        "threshold 0.1": lambda args, dy, g: (jnp.where(args[0] > 0.1, dy, 0),),
        "leak 0.01": lambda args, dy, g: (jnp.where(args[0] > 0, dy, 0.01 * dy),),
        "mask dropped": lambda args, dy, g: (dy,),
        "mask of dy": lambda args, dy, g: (jnp.where(dy > 0, dy, 0),),
        "last row": without_row(0, -1),
    },
    Shapes(((2, 3),), ((64, 256),)),
    normal,
)


def _cdf(x: Array) -> Array:
    """Φ, that of the normal distribution, in bfloat16 too, which `jax.scipy.stats.norm` refuses."""
    return 0.5 * (1 + jax.lax.erf(x * math.sqrt(0.5)))


def _gelu_slope(x: Array) -> Array:
    return _cdf(x) + x * jnp.exp(-0.5 * x * x) / math.sqrt(2 * math.pi)


def _sigmoid_form_slope(x: Array) -> Array:
    """The derivative of x σ(1.702 x), which is taken for gelu."""
    gate = jax.nn.sigmoid(1.702 * x)
    return gate + 1.702 * x * gate * (1 - gate)


gelu = Subject(
    "gelu",
    lambda x: x * _cdf(x),
    lambda args, dy: (dy * _gelu_slope(args[0]),),
    {
        "density missing": lambda args, dy, g: (dy * _cdf(args[0]),),
        "of the sigmoid form": lambda args, dy, g: (dy * _sigmoid_form_slope(args[0]),),
        "0.1 % small": scaled(0, 0.999),
        "one element": one_element(0),
        "second order: constants": held_fixed(lambda args, dy: (dy * _gelu_slope(args[0]),)),
    },
    Shapes(((2, 3),), ((64, 256),)),
    normal,
)


def _softmax_backward(args: Arrays, dy: Array) -> Arrays:
    y = jax.nn.softmax(args[0])
    return (y * (dy - (dy * y).sum(-1, keepdims=True)),)


def _softmax_of(args: Arrays) -> Array:
    return jax.nn.softmax(args[0])


softmax = Subject(
    "softmax",
    lambda x: jax.nn.softmax(x),  # an axis of its own would become an argument of the custom rule
    _softmax_backward,
    {
        "as lectured: s − Σs": lambda args, dy, g: (
            dy * _softmax_of(args) - (dy * _softmax_of(args)).sum(-1, keepdims=True),
        ),
        "sum missing": lambda args, dy, g: (dy * _softmax_of(args),),
        "sum over all": lambda args, dy, g: (
            _softmax_of(args) * (dy - (dy * _softmax_of(args)).sum()),
        ),
        "sum's sign": lambda args, dy, g: (
            _softmax_of(args) * (dy + (dy * _softmax_of(args)).sum(-1, keepdims=True)),
        ),
        "diagonal alone": lambda args, dy, g: (dy * _softmax_of(args) * (1 - _softmax_of(args)),),
        "first row": without_row(0, 0),
    },
    Shapes(((2, 4),), ((64, 128),)),
    normal,
)

logsumexp = Subject(
    "logsumexp",
    lambda x: jax.nn.logsumexp(x, axis=-1),
    lambda args, dy: (dy[:, None] * jax.nn.softmax(args[0]),),
    {
        "no upstream": lambda args, dy, g: (_softmax_of(args),),
        "of the maximum": lambda args, dy, g: (
            dy[:, None] * (args[0] == args[0].max(-1, keepdims=True)),
        ),
        "softmax over rows": lambda args, dy, g: (dy[:, None] * jax.nn.softmax(args[0], axis=0),),
    },
    Shapes(((2, 4),), ((64, 128),)),
    normal,
)


def _normal_form(x: Array, axis: int) -> tuple[Array, Array]:
    centred = x - x.mean(axis, keepdims=True)
    inverse = 1 / jnp.sqrt((centred**2).mean(axis, keepdims=True) + EPSILON)
    return centred * inverse, inverse


def _normalization(name: str, axis: int, shapes: Shapes) -> Subject:
    """Layer norm over features for axis 1, batch norm over examples for axis 0."""

    def forward(x: Array, scale: Array, bias: Array) -> Array:
        return scale[None, :] * _normal_form(x, axis)[0] + bias[None, :]

    def dx(args: Arrays, dy: Array, mean: float = 1, along: float = 1) -> Array:
        x, scale, _ = args
        normal, inverse = _normal_form(x, axis)
        d = dy * scale[None, :]
        average = d.mean(axis, keepdims=True)
        projection = normal * (d * normal).mean(axis, keepdims=True)
        return inverse * (d - mean * average - along * projection)

    def backward(args: Arrays, dy: Array) -> Arrays:
        normal, _ = _normal_form(args[0], axis)
        return dx(args, dy), (dy * normal).sum(0), dy.sum(0)

    def bessel(args: Arrays, dy: Array, grads: Arrays) -> Arrays:
        n = args[0].shape[axis]
        return dx(args, dy, along=n / (n - 1)), *grads[1:]

    return Subject(
        name,
        forward,
        backward,
        {
            "dx: n/(n − 1)": bessel,
            "dx: mean missing": lambda args, dy, g: (dx(args, dy, mean=0), *g[1:]),
            "dx: variance missing": lambda args, dy, g: (dx(args, dy, along=0), *g[1:]),
            "dx without scale": lambda args, dy, g: (
                dx((args[0], jnp.ones_like(args[1]), args[2]), dy),
                *g[1:],
            ),
            "dscale of x": lambda args, dy, g: (g[0], (dy * args[0]).sum(0), g[2]),
            "dscale 0.1 % large": scaled(1, 1.001),
            "dbias a mean": lambda args, dy, g: (g[0], g[1], dy.mean(0)),
        },
        shapes,
        lambda rng, shapes: [
            array + offset
            for array, offset in zip(normal(rng, shapes), (0.3, 1.0, 0.0), strict=True)
        ],
    )


layer_norm = _normalization(
    "layer norm", 1, Shapes(((3, 4), (4,), (4,)), ((32, 128), (128,), (128,)))
)
batch_norm = _normalization(
    "batch norm", 0, Shapes(((4, 3), (3,), (3,)), ((64, 128), (128,), (128,)))
)


def _cross_entropy(logits: Array, target: Array) -> Array:
    return -(target * jax.nn.log_softmax(logits)).sum(-1)


def _cross_entropy_draw(
    rng: np.random.Generator, shapes: tuple[tuple[int, ...], ...]
) -> list[np.ndarray[Any, Any]]:
    logits, target = normal(rng, shapes)
    return [logits, np.abs(target) / 2]  # weights that do not add up to 1


cross_entropy = Subject(
    "cross-entropy",
    _cross_entropy,
    lambda args, dy: (
        dy[:, None] * (args[1].sum(-1, keepdims=True) * _softmax_of(args) - args[1]),
        -dy[:, None] * jax.nn.log_softmax(args[0]),
    ),
    {
        "as lectured: y − p": lambda args, dy, g: (_softmax_of(args) - args[1], g[1]),
        "Σp missing": lambda args, dy, g: (dy[:, None] * (_softmax_of(args) - args[1]), g[1]),
        "divided by N": changed(0, lambda g: g / len(g)),
        "dtarget sign": scaled(1, -1.0),
        "dlogits one element": one_element(0),
        "dlogits reversed": reversed_along(0, -1),
    },
    Shapes(((3, 4), (3, 4)), ((64, 100), (64, 100))),
    _cross_entropy_draw,
)

DENSE = (linear, relu, gelu, softmax, logsumexp, layer_norm, batch_norm, cross_entropy)
