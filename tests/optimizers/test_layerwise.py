"""LARS and LAMB: the lengths of their steps."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fnn import optimizers

PARAMS = {"w": np.asarray([[3.0, 0.0], [0.0, 4.0]], np.float32), "b": np.ones(2, np.float32)}


def first(optimizer, grads, params=PARAMS):
    updates, _ = optimizer.update(grads, optimizer.init(params), params)
    return updates


@pytest.mark.parametrize("size", [1e-6, 1.0, 1e6])
def test_a_step_is_a_share_of_the_parameters_length_whatever_the_gradient(size, rng):
    grads = {name: size * rng.normal(size=p.shape) for name, p in PARAMS.items()}
    grads = jax.tree.map(lambda g: g.astype(np.float32), grads)
    for optimizer, share in (
        (optimizers.lars(0.5, weight_decay=0.0, trust=0.01), 0.005),
        (optimizers.lars(0.5, weight_decay=0.1, trust=0.01, dialect="optax"), 0.005),
        (optimizers.lamb(0.1, eps=0.0), 0.1),
    ):
        for name, u in first(optimizer, grads).items():
            length = np.linalg.norm(PARAMS[name])
            np.testing.assert_allclose(np.linalg.norm(u), share * length, rtol=1e-5)


def test_what_is_not_adapted_takes_plain_steps_without_decay():
    grads = {"w": np.ones((2, 2), np.float32), "b": np.ones(2, np.float32)}
    lars = first(optimizers.lars(0.5, weight_decay=0.1, adapted="w"), grads)
    np.testing.assert_allclose(lars["b"], -0.5)
    # ‖w‖ = 5, ‖g‖ = 2.
    expected = -0.5 * 1e-3 * 5 / (2 + 0.1 * 5) * (grads["w"] + 0.1 * PARAMS["w"])
    np.testing.assert_allclose(lars["w"], expected, rtol=1e-6)
    lamb = first(optimizers.lamb(0.5, adapted=("!b", "*")), grads)
    np.testing.assert_allclose(lamb["b"], -0.5, rtol=1e-4)


@pytest.mark.parametrize("dialect", ["paper", "optax"])
def test_a_parameter_at_zero_can_leave_it(dialect):
    zero = {"w": np.zeros((2, 2), np.float32), "b": np.zeros(2, np.float32)}
    grads = {"w": np.ones((2, 2), np.float32), "b": np.ones(2, np.float32)}
    for leaf in first(optimizers.lars(0.5, dialect=dialect), grads, zero).values():
        np.testing.assert_allclose(leaf, -0.5)


@pytest.mark.parametrize("build", [optimizers.lars, optimizers.lamb])
def test_a_gradient_of_zero_leaves_the_decay(build):
    zeros = jax.tree.map(np.zeros_like, PARAMS)
    with jax.debug_nans(True), jax.debug_infs(True):  # nothing is divided by 0 on the way
        still = first(build(0.5, weight_decay=0.0), zeros)
    for leaf in still.values():
        np.testing.assert_array_equal(leaf, 0)
    shrinking = first(build(0.5, weight_decay=0.1), zeros)
    for name, leaf in shrinking.items():
        assert (np.sign(leaf) == -np.sign(PARAMS[name])).all()


def test_an_infinite_gradient_is_not_hidden():
    grads = {"w": np.full((2, 2), np.inf, np.float32), "b": np.ones(2, np.float32)}
    for build in (optimizers.lars, optimizers.lamb):
        updates = first(build(0.5), grads)
        assert np.isnan(updates["w"]).all()
        assert np.isfinite(updates["b"]).all()


def test_what_is_refused():
    with pytest.raises(ValueError, match="expected trust finite and at least 0, got -1"):
        optimizers.lars(trust=-1.0)
    with pytest.raises(ValueError, match="expected a dialect of 'optax', 'paper', got 'torch'"):
        optimizers.lars(dialect="torch")
    with pytest.raises(ValueError, match="a pattern that matches a parameter, got 'v'"):
        optimizers.lamb(adapted="v").init({"w": jnp.ones(2)})
