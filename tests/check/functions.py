"""Functions with rules of their own, right and wrong, and others that any checker has to pass."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import pallas as pl

from fnn.check.battery import AT_SIZE
from fnn.check.functions.function import function


def data(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


X, W, B = data(6, 5), data(5, 4, seed=1), data(4, seed=2)


quick = functools.partial(function, methods=AT_SIZE)


def failed(report):
    """{(method, path)} of what is wrong."""
    return {(row.method, row.path) for row in report.failures}


def leaves_of(report):
    """What is differentiated, by name."""
    return {row.path for row in report.rows if row.method in ("structure", "numerical")}


def ruled(primal, forward, backward):
    f = jax.custom_vjp(primal)
    f.defvjp(forward, backward)
    return f


def dense(x, w, b):
    return jnp.tanh(x @ w + b[None, :])


def dense_forward(x, w, b):
    y = dense(x, w, b)
    return y, (x, w, y)


def dense_backward(cache, dy):
    x, w, y = cache
    dz = dy * (1 - y * y)
    return dz @ w.T, x.T @ dz, dz.sum(0)


right = ruled(dense, dense_forward, dense_backward)


FAULTS = {
    "scale": (
        dense_forward,
        lambda c, dy: (1.001 * dense_backward(c, dy)[0], *dense_backward(c, dy)[1:]),
        {"x"},
    ),
    "missing residual": (
        dense_forward,
        lambda c, dy: dense_backward((c[0], c[1], jnp.zeros_like(c[2])), dy),
        {"x", "w", "b"},
    ),
    "no sum": (dense_forward, lambda c, dy: (*dense_backward(c, dy)[:2], dy[0]), {"b"}),
    "none": (
        dense_forward,
        lambda c, dy: (dense_backward(c, dy)[0], None, dense_backward(c, dy)[2]),
        {"w"},
    ),
    "nan": (
        dense_forward,
        lambda c, dy: (dense_backward(c, dy)[0].at[0, 0].set(jnp.nan), *dense_backward(c, dy)[1:]),
        {"x"},
    ),
}


RIGHT = {
    "relu": jax.nn.relu,
    "softmax": jax.nn.softmax,
    "silu": jax.nn.silu,
    "logsumexp": jax.nn.logsumexp,
    "linalg.norm": jnp.linalg.norm,
    "max": lambda x: jnp.max(x, axis=0),
    "cumsum": jnp.cumsum,
    "sort": jnp.sort,
    "custom_vjp": lambda x: right(x, W.astype(x.dtype), B.astype(x.dtype)),
}


def scaled_tanh(x):
    def kernel(x_ref, y_ref):
        y_ref[...] = 2 * jnp.tanh(x_ref[...])

    return pl.pallas_call(kernel, out_shape=jax.ShapeDtypeStruct(x.shape, x.dtype), interpret=True)(
        x
    )
