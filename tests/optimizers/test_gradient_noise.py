"""Centralization against its definition, and the noise's distribution and draws."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from fnn.optimizers import add_noise, centralize, compose, sgd


def draws(transform, params, steps=1):
    zero, state, seen = jax.tree.map(jnp.zeros_like, params), transform.init(params), []
    for _ in range(steps):
        noise, state = transform.update(zero, state, params)
        seen.append(noise)
    return seen


def test_the_callers_key_outlives_a_donated_state(key):
    transform = add_noise(key)
    for _ in range(2):
        state = transform.init(jnp.ones(3))
        donated = jax.jit(lambda state: state._replace(steps=state.steps + 1), donate_argnums=0)
        donated(state)
    assert jax.random.normal(key) < jnp.inf


@pytest.mark.parametrize("shape", [(4, 3), (3, 3, 2, 5), (2, 4, 3)])
def test_every_units_gradient_has_mean_0(shape, rng):
    g = rng.normal(size=shape).astype(np.float32) + 3
    transform = centralize()
    got, _ = transform.update(jnp.asarray(g), transform.init(jnp.asarray(g)), jnp.asarray(g))
    expected = np.empty_like(g)
    for unit in range(shape[-1]):
        expected[..., unit] = g[..., unit] - g[..., unit].mean()
    np.testing.assert_allclose(got, expected, atol=1e-5)
    # optax takes the first axis for that of the units.
    turned = jnp.moveaxis(jnp.asarray(g), -1, 0)
    theirs, _ = optax.centralize().update(turned, optax.EmptyState())
    np.testing.assert_allclose(jnp.moveaxis(got, -1, 0), theirs, atol=1e-5)


def test_vectors_and_scalars_pass(rng):
    g = {"b": jnp.asarray([1.0, 2.0]), "s": jnp.asarray(3.0)}
    got, _ = centralize().update(g, centralize().init(g), g)
    jax.tree.map(np.testing.assert_array_equal, got, g)


def test_along_another_axis():
    g = jnp.asarray([[1.0, 2.0, 6.0]])
    got, _ = centralize(axis=1).update(g, centralize(axis=1).init(g), g)
    np.testing.assert_allclose(got, [[-2, -1, 3]])


def test_centralized_descent_keeps_each_units_sum(rng):
    p = jnp.asarray(rng.normal(size=(4, 3)), jnp.float32)
    optimizer = compose(mean=centralize(), descent=sgd(0.3))
    updates, _ = optimizer.update(
        jnp.asarray(rng.normal(size=(4, 3)), jnp.float32), optimizer.init(p), p
    )
    np.testing.assert_allclose((p + updates).sum(axis=0), p.sum(axis=0), atol=1e-5)


def test_the_variance_dies_away(key):
    """σ² = variance / (1 + t)ᵖᵒʷᵉʳ, and a sample variance of n is within 5 √(2 / n) of it."""
    n = 20_000
    p = jnp.zeros(n)
    for t, noise in enumerate(draws(add_noise(key, 0.3, 0.55), p, 4)):
        expected = 0.3 / (1 + t) ** 0.55
        assert abs(float(noise.var()) / expected - 1) < 5 * np.sqrt(2 / n)
        assert abs(float(noise.mean())) < 5 * np.sqrt(expected / n)


def test_draws_depend_on_key_step_and_path_alone(key):
    small = {"a": jnp.zeros(5), "b": jnp.zeros(5)}
    first, second = draws(add_noise(key), small, 2)
    assert not np.allclose(first["a"], first["b"])
    assert not np.allclose(first["a"], second["a"] * 2**0.275)
    larger = {"a": jnp.zeros(5), "aa": jnp.zeros((2, 2)), "b": jnp.zeros(5)}
    (again,) = draws(add_noise(key), larger)
    np.testing.assert_array_equal(again["b"], first["b"])
    (other,) = draws(add_noise(jax.random.fold_in(key, 1)), small)
    assert not np.allclose(other["a"], first["a"])


def test_a_run_goes_on_from_its_state(key):
    """The key is in the state: another transform's update draws the same."""
    p = jnp.zeros(5)
    _, second = draws(add_noise(key), p, 2)
    _, state = add_noise(key).update(p, add_noise(key).init(p), p)
    elsewhere, _ = add_noise(jax.random.key(0)).update(p, state, p)
    np.testing.assert_array_equal(elsewhere, second)


def test_low_precision_parameters_get_noise_of_float32(key):
    (noise,) = draws(add_noise(key), jnp.zeros(3, jnp.bfloat16))
    assert noise.dtype == jnp.float32


@pytest.mark.parametrize(("variance", "power"), [(-1.0, 0.5), (0.1, np.nan)])
def test_values_that_no_noise_has(key, variance, power):
    with pytest.raises(ValueError, match="finite and at least 0, got"):
        add_noise(key, variance, power)
