"""What the tests of recurrent networks share: sizes, builders, and one program for both passes."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from fnn import layers
from fnn.layers import HiddenCarry, LSTMCarry

N, T, D, H = 2, 5, 3, 4
BUILDS = {
    "rnn": layers.rnn,
    "lstm": layers.lstm,
    "gru": layers.gru,
    "gru, reset before": functools.partial(layers.gru, reset="before"),
}


def normal(rng, *shape):
    return rng.normal(size=shape).astype(np.float32)


def started(layer, x, rng):
    """Parameters of which none is at a special point."""
    params, _ = layer.init(jax.random.key(0), x)
    return jax.tree.map(lambda p: jnp.asarray(0.5 * normal(rng, *p.shape)), params)


def run(layer, params, x):
    y, _, cache = jax.jit(layer.forward)(params, (), x, None)
    return y, cache


@functools.partial(jax.jit, static_argnums=0)
def gradients(passes, params, x, dy):
    """(y, dparams, dx) in one program."""
    forward, backward = passes
    y, _, cache = forward(params, (), x, None)
    return y, *backward(params, cache, dy)


def both(layer, params, x, dy):
    return gradients((layer.forward, layer.backward), params, x, dy)


def zero_carry(build, batch=N):
    zero = jnp.zeros((batch, H))
    return LSTMCarry(zero, zero) if build is layers.lstm else HiddenCarry(zero)
