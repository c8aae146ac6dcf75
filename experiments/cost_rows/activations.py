"""Activations, against autodiff of what `jax.nn` or a line of `jax.numpy` computes."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from experiments.cost_rows.row import CostRow
from fnn import layers

IMAGES = (32, 28, 28, 32)
ROWS_OF_CLASSES = (4096, 128)
HIDDEN = (1024, 2048)
SMALL = (32, 16)


def prelu(params: Any, x: jax.Array) -> jax.Array:
    """Flax's form."""
    return jnp.where(x >= 0, x, params.slope.astype(x.dtype) * x)


def glu(gate: Any) -> Any:
    """The halves of x, the second through the gate."""

    def plain(params: Any, x: jax.Array) -> jax.Array:
        del params  # there are none
        a, b = jnp.split(x, 2, axis=-1)
        return a * gate(b)

    return plain


def maxout(params: Any, x: jax.Array) -> jax.Array:
    """One matrix product and a maximum."""
    w, b = params.w.astype(x.dtype), params.b.astype(x.dtype)
    inputs, pieces, features = w.shape
    z = x @ w.reshape(inputs, -1) + b.reshape(-1)
    return z.reshape(*x.shape[:-1], pieces, features).max(axis=-2)


ROWS = {
    "sigmoid": CostRow(layers.sigmoid(), IMAGES, SMALL, lambda _, x: jax.nn.sigmoid(x)),
    "tanh": CostRow(layers.tanh(), IMAGES, SMALL, lambda _, x: jnp.tanh(x)),
    "relu": CostRow(layers.relu(), IMAGES, SMALL, lambda _, x: jax.nn.relu(x)),
    "relu6": CostRow(layers.relu6(), IMAGES, SMALL, lambda _, x: jax.nn.relu6(x)),
    "leaky_relu": CostRow(layers.leaky_relu(), IMAGES, SMALL, lambda _, x: jax.nn.leaky_relu(x)),
    "prelu": CostRow(layers.prelu(), IMAGES, SMALL, prelu),
    "prelu per channel": CostRow(layers.prelu(per_channel=True), IMAGES, SMALL, prelu),
    "elu": CostRow(layers.elu(), IMAGES, SMALL, lambda _, x: jax.nn.elu(x)),
    "selu": CostRow(layers.selu(), IMAGES, SMALL, lambda _, x: jax.nn.selu(x)),
    "celu": CostRow(layers.celu(), IMAGES, SMALL, lambda _, x: jax.nn.celu(x)),
    "softplus": CostRow(layers.softplus(), IMAGES, SMALL, lambda _, x: jax.nn.softplus(x)),
    "softsign": CostRow(layers.softsign(), IMAGES, SMALL, lambda _, x: jax.nn.soft_sign(x)),
    "gelu": CostRow(layers.gelu(), IMAGES, SMALL, lambda _, x: jax.nn.gelu(x)),
    "gelu exact": CostRow(
        layers.gelu(approximate=False),
        IMAGES,
        SMALL,
        lambda _, x: jax.nn.gelu(x, approximate=False),
    ),
    "silu": CostRow(layers.silu(), IMAGES, SMALL, lambda _, x: jax.nn.silu(x)),
    "mish": CostRow(layers.mish(), IMAGES, SMALL, lambda _, x: jax.nn.mish(x)),
    "squareplus": CostRow(layers.squareplus(), IMAGES, SMALL, lambda _, x: jax.nn.squareplus(x)),
    "hard_sigmoid": CostRow(
        layers.hard_sigmoid(), IMAGES, SMALL, lambda _, x: jax.nn.hard_sigmoid(x)
    ),
    "hard_tanh": CostRow(layers.hard_tanh(), IMAGES, SMALL, lambda _, x: jax.nn.hard_tanh(x)),
    "hard_swish": CostRow(layers.hard_swish(), IMAGES, SMALL, lambda _, x: jax.nn.hard_swish(x)),
    "softmax": CostRow(layers.softmax(), ROWS_OF_CLASSES, SMALL, lambda _, x: jax.nn.softmax(x)),
    "log_softmax": CostRow(
        layers.log_softmax(), ROWS_OF_CLASSES, SMALL, lambda _, x: jax.nn.log_softmax(x)
    ),
    "hardmax": CostRow(
        layers.hardmax(),
        ROWS_OF_CLASSES,
        SMALL,
        lambda _, x: jax.nn.one_hot(jnp.argmax(x, axis=-1), x.shape[-1], dtype=x.dtype),
    ),
    "glu": CostRow(layers.glu(), HIDDEN, SMALL, lambda _, x: jax.nn.glu(x)),
    "geglu": CostRow(layers.geglu(), HIDDEN, SMALL, glu(jax.nn.gelu)),
    "geglu exact": CostRow(
        layers.geglu(approximate=False), HIDDEN, SMALL, glu(partial(jax.nn.gelu, approximate=False))
    ),
    "swiglu": CostRow(layers.swiglu(), HIDDEN, SMALL, glu(jax.nn.silu)),
    "maxout": CostRow(layers.maxout(128, 4), (512, 256), SMALL, maxout),
}
