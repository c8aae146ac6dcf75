"""`assert_gradients`: every kind of subject, in one line of a test."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from planted import X, affine, spoiled

from fnn import chain, check, losses
from fnn.check.testing import assert_gradients


def doubled(params, cache, dparams, dx, dy):
    return dparams, 2 * dx


@jax.custom_vjp
def cube(x):
    return x**3


cube.defvjp(lambda x: (x**3, x), lambda x, dy: (3.5 * x**2 * dy,))


def test_a_layer():
    report = assert_gradients(affine(4), X, seed=3)
    assert (report.name, report.ok) == ("affine(4)", True)
    with pytest.raises(AssertionError, match=r"(?s)affine\(4\).*WRONG.*x: reverse mode at index"):
        assert_gradients(spoiled(affine(4), doubled), X)


def test_a_loss():
    labels = np.arange(len(X)) % X.shape[1]
    assert_gradients(losses.softmax_cross_entropy(), X, labels)
    loss = losses.softmax_cross_entropy()
    halved = loss._replace(backward=lambda cache, dlosses: loss.backward(cache, dlosses) / 2)
    with pytest.raises(check.GradientError, match="softmax_cross_entropy: WRONG"):
        assert_gradients(halved, X, labels)


def test_a_network_under_a_loss():
    net = chain(hidden=spoiled(affine(4), doubled))
    params, state = net.init(jax.random.key(0), jnp.asarray(X))
    target = np.zeros((len(X), 4), np.float32)
    with pytest.raises(check.GradientError, match=r"hidden \(affine\(4\)\) x: reverse mode"):
        assert_gradients(net, losses.squared_error(), X, target, params=params, state=state)


def test_a_function():
    with pytest.raises(check.GradientError, match="cube"):
        assert_gradients(cube, X)
    assert assert_gradients(lambda x: x**3, X, reference=lambda x: x * x * x).ok


def test_what_has_no_gradient():
    with pytest.raises(
        TypeError, match="expected a Layer, a Loss or a function to check, got int: 3"
    ):
        assert_gradients(3, X)
