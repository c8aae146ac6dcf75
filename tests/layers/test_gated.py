"""Gated linear units and maxout, against NumPy."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fnn import layers
from fnn.layer import Layer, PyTree


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def gelu(x):
    return x / 2 * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))


def gelu_exact(x):
    return x / 2 * (1 + np.vectorize(math.erf)(x / np.sqrt(2)))


GATES = {
    "glu": (layers.glu(), sigmoid),
    "geglu": (layers.geglu(), gelu),
    "geglu exact": (layers.geglu(approximate=False), gelu_exact),
    "swiglu": (layers.swiglu(), lambda x: x * sigmoid(x)),
}


def run(layer: Layer, x: PyTree) -> tuple[PyTree, PyTree, PyTree]:
    params, state = layer.init(jax.random.key(0), x)
    y, _, cache = layer.forward(params, state, x, None)
    return params, y, cache


@pytest.mark.parametrize("name", GATES)
def test_gated_units_multiply_the_first_half_by_the_gate_of_the_second(name, rng):
    layer, gate = GATES[name]
    x = rng.normal(size=(2, 3, 8)).astype(np.float32)
    _, y, cache = run(layer, jnp.asarray(x))
    a, b = x[..., :4].astype(np.float64), x[..., 4:].astype(np.float64)
    np.testing.assert_allclose(y, a * gate(b), rtol=1e-5, atol=1e-6)
    _, dx = layer.backward((), cache, jnp.ones_like(y))
    np.testing.assert_allclose(dx[..., :4], gate(b), rtol=1e-5, atol=1e-6)
    slope = (gate(b + 1e-6) - gate(b - 1e-6)) / 2e-6
    np.testing.assert_allclose(dx[..., 4:], a * slope, rtol=1e-4, atol=1e-5)
    if name == "glu":
        np.testing.assert_allclose(y, jax.nn.glu(jnp.asarray(x)), rtol=1e-6)


def test_maxout_is_the_largest_of_its_pieces_and_the_first_of_equals(rng):
    x = rng.normal(size=(5, 3)).astype(np.float32)
    layer = layers.maxout(2, 3)
    params, y, cache = run(layer, jnp.asarray(x))
    assert (params.w.shape, params.b.shape) == ((3, 3, 2), (3, 2))
    z = np.einsum("nd,dkf->nkf", x, np.asarray(params.w)) + np.asarray(params.b)
    np.testing.assert_allclose(y, z.max(axis=1), rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(cache.piece, z.argmax(axis=1))
    assert cache.piece.dtype == jnp.uint8
    same = params._replace(w=jnp.zeros_like(params.w))
    _, _, cache = layer.forward(same, (), jnp.asarray(x), None)
    dparams, _ = layer.backward(same, cache, jnp.ones((5, 2)))
    np.testing.assert_array_equal(dparams.b, [[5, 5], [0, 0], [0, 0]])


def test_maxout_of_two_pieces_can_be_relu_and_the_absolute_value():
    """Goodfellow et al. (2013), figure 1: convex functions of pieces."""
    x = jnp.asarray([[-2.0], [0.5]])
    for slopes_of_pieces, expected in (([0.0, 1.0], [0, 0.5]), ([-1.0, 1.0], [2, 0.5])):
        layer = layers.maxout(1, 2)
        params, _ = layer.init(jax.random.key(0), x)
        params = params._replace(w=jnp.asarray(slopes_of_pieces).reshape(1, 2, 1))
        np.testing.assert_array_equal(layer.predict(params, (), x)[:, 0], expected)


def test_a_nan_of_a_piece_is_not_hidden_by_a_later_one():
    layer = layers.maxout(1, 3)
    x = jnp.ones((1, 1))
    params, _ = layer.init(jax.random.key(0), x)
    for place in range(3):
        w = params.w.at[0, place, 0].set(jnp.nan)
        assert np.isnan(layer.predict(params._replace(w=w), (), x)).all()
