"""The autoencoder: its parts and sizes, and the plane that a linear one finds."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fnn import losses, models, value_and_grad


def count(tree):
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


def test_size_is_that_of_the_docstring():
    net = models.autoencoder(784, 32)
    x = jax.ShapeDtypeStruct((2, 28, 28, 1), jnp.float32)
    params, state = jax.eval_shape(net.init, jax.random.key(0), x)
    assert count(params) == 209_968
    assert jax.eval_shape(net.predict, params, state, x).shape == (2, 784)


def test_parts_are_networks_of_their_own(rng, key):
    net = models.autoencoder(6, 2, features=(5, 4))
    assert list(net.parts["encoder"].parts) == [
        "flatten", "hidden_1", "act_1", "hidden_2", "act_2", "code",
    ]  # fmt: skip
    assert list(net.parts["decoder"].parts) == [
        "hidden_1",
        "act_1",
        "hidden_2",
        "act_2",
        "y",
        "act",
    ]
    x = jnp.asarray(rng.uniform(size=(3, 2, 3)), jnp.float32)
    params, state = net.init(key, x)
    widths = [params["decoder"][name].w.shape for name in ("hidden_1", "hidden_2", "y")]
    assert widths == [(2, 4), (4, 5), (5, 6)]
    code = net.parts["encoder"].predict(params["encoder"], state["encoder"], x)
    assert code.shape == (3, 2)
    y = net.parts["decoder"].predict(params["decoder"], state["decoder"], code)
    np.testing.assert_array_equal(y, net.predict(params, state, x))
    assert ((np.asarray(y) > 0) & (np.asarray(y) < 1)).all()


def test_a_linear_one_finds_the_principal_plane(rng, key):
    """Baldi, Hornik (1989): the least error is the sum of the variances left out."""
    net = models.autoencoder(3, 1, features=(), output="identity")
    x = rng.normal(size=(40, 3)) @ np.diag([3.0, 1.0, 0.5])
    x = jnp.asarray(x - x.mean(axis=0), jnp.float32)
    params, state = net.init(key, x)
    gradient = value_and_grad(net, losses.squared_error("sum"))

    def step(params, _):
        (loss, _), grads = gradient(params, state, x, x)
        return jax.tree.map(lambda p, g: p - 0.02 * g, params, grads), loss

    params, loss = jax.jit(lambda params: jax.lax.scan(step, params, None, length=500))(params)
    singular = np.linalg.svd(np.asarray(x), compute_uv=False)
    np.testing.assert_allclose(loss[-1], (singular[1:] ** 2).sum() / 40, rtol=1e-2)
    assert loss[0] > 2 * loss[-1]


def test_refuses_another_output():
    with pytest.raises(ValueError, match="'sigmoid' or 'identity', got 'tanh'"):
        models.autoencoder(4, 2, output="tanh")
