"""Softmax, its logarithm and hardmax: the numbers of the lecture notes, hard inputs, ties."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fnn import layers
from fnn.layer import Layer, PyTree


def run(layer: Layer, x: PyTree) -> tuple[PyTree, PyTree, PyTree]:
    params, state = layer.init(jax.random.key(0), x)
    y, _, cache = layer.forward(params, state, x, None)
    return params, y, cache


def test_softmax_and_hardmax_give_the_numbers_of_the_lecture_notes():
    """The vectors (1, 1, 8) and (5, 2, -1, 3), with the digits printed there."""
    _, y, _ = run(layers.softmax(), jnp.asarray([1.0, 1.0, 8.0]))
    np.testing.assert_allclose(y, [9.10221936e-04, 9.10221936e-04, 9.98179556e-01], rtol=1e-6)
    scores = jnp.asarray([5.0, 2.0, -1.0, 3.0])
    _, y, _ = run(layers.softmax(), scores)
    np.testing.assert_allclose(y, [0.842, 0.042, 0.002, 0.114], atol=5e-4)
    np.testing.assert_array_equal(run(layers.hardmax(), scores)[1], [1, 0, 0, 0])
    np.testing.assert_array_equal(run(layers.hardmax(), jnp.asarray([1.0, 1, 8]))[1], [0, 0, 1])


def test_the_notes_backward_of_softmax(rng):
    """s - y Σ s with s = dy · y; the notes forget the y."""
    x, dy = rng.normal(size=(2, 4, 5)).astype(np.float32)
    layer = layers.softmax()
    _, y, cache = run(layer, jnp.asarray(x))
    s = dy * np.asarray(y)
    expected = s - np.asarray(y) * s.sum(axis=-1, keepdims=True)
    np.testing.assert_allclose(layer.backward((), cache, dy)[1], expected, rtol=1e-5, atol=1e-7)


def test_log_softmax_far_from_zero_and_where_the_softmax_rounds_to_zero():
    x = jnp.asarray([[1e4, 1e4 - 1, 1e4 - 300], [0.0, -jnp.inf, 2.0]])
    layer = layers.log_softmax()
    _, y, cache = run(layer, x)
    first = math.log(1 + math.exp(-1))
    second = math.log(1 + math.exp(-2))
    expected = [[-first, -1 - first, -300 - first], [-2 - second, -math.inf, -second]]
    np.testing.assert_allclose(y, expected, rtol=1e-6)
    _, dx = layer.backward((), cache, jnp.asarray([[1.0, 0, 0], [0, 0, 1.0]]))
    p, q = 1 / (1 + math.exp(-1)), 1 / (1 + math.exp(-2))
    np.testing.assert_allclose(dx, [[1 - p, p - 1, 0], [q - 1, 0, 1 - q]], rtol=1e-5, atol=1e-7)


def test_log_softmax_of_bfloat16_has_right_probabilities():
    """From an output of bfloat16, near -20, exp(y) would be off by 6 percent."""
    x = jnp.asarray([20.0, 0.0, 0.0], jnp.bfloat16)
    layer = layers.log_softmax()
    _, _, cache = run(layer, x)
    _, dx = layer.backward((), cache, jnp.asarray([1.0, 0, 0], jnp.bfloat16))
    np.testing.assert_allclose(np.asarray(dx, np.float64)[1:], -math.exp(-20), rtol=2.0**-8)


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_hardmax_takes_the_first_of_equals_along_its_axis_and_keeps_a_nan(axis):
    x = jnp.asarray([[2.0, 2.0, 1.0], [2.0, 3.0, 3.0]])
    expected = np.zeros((2, 3))
    places = np.argmax(np.asarray(x), axis=axis)
    np.put_along_axis(expected, np.expand_dims(places, axis), 1, axis)
    layer = layers.hardmax(axis)
    _, y, cache = run(layer, x)
    np.testing.assert_array_equal(y, expected)
    np.testing.assert_array_equal(layer.backward((), cache, x)[1], np.zeros((2, 3)))
    assert jax.tree.leaves(cache) == []
    nan = run(layers.hardmax(), jnp.asarray([[1.0, jnp.nan], [1.0, 2.0]]))[1]
    np.testing.assert_array_equal(nan, [[np.nan, np.nan], [0, 1]])
