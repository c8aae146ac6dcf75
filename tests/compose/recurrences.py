"""What the tests of recurrences share: two small cells, and a run of both passes."""

import jax
import jax.numpy as jnp
import numpy as np

from fnn import pure


def adder():
    """c ← c + x, y = c: a running sum, in whose gradient every sum is the other way round."""

    def backward(params, cache, dy):
        total = dy[0] + dy[1]
        return params, (total, total)

    return pure("adder", lambda params, x: ((x[0] + x[1], x[0] + x[1]), ()), backward)


def scaler():
    """c ← c + w x, y = w x c."""

    def forward(w, x):
        c, x = x
        step = w.astype(x.dtype) * x
        return (c + step, step * c), (c, x)

    def backward(w, cache, dy):
        (c, x), (dc, dy) = cache, dy
        wide = w.astype(x.dtype)
        dw = (x * (dc + dy * c)).sum().astype(w.dtype)
        return dw, (dc + dy * wide * x, wide * (dc + dy * c))

    return pure("scaler", forward, backward, lambda key, x: jnp.asarray(2, x[1].dtype))


def zeros(x):
    return jnp.zeros(x.shape, x.dtype)


def run(layer, x, dy=None, key=None, params=None):
    given, state = layer.init(jax.random.key(0), x)
    params = given if params is None else params
    y, new_state, cache = layer.forward(params, state, x, key)
    dy = jax.tree.map(jnp.ones_like, y) if dy is None else dy
    return (y, new_state, *layer.backward(params, cache, dy))


def close(a, b):
    np.testing.assert_allclose(a, b, rtol=2e-6, atol=2e-6)
