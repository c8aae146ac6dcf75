"""Weight norm and spectral norm against equinox, singular values, and what they must not change."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fnn import layers

KEY = jax.random.key(0)


def run(layer, x, moved=True):
    """(params, y, state, cache) at a scale and bias that are not 1 and 0."""
    params, state = layer.init(KEY, x)
    if moved:
        params = jax.tree.map(
            lambda p: p + 0.3 * jnp.cos(jnp.arange(p.size, dtype=p.dtype)).reshape(p.shape), params
        )
    y, state, cache = layer.forward(params, state, x, None)
    return params, y, state, cache


def normal(rng, *shape, mean=0.0, std=1.0):
    return jnp.asarray(rng.normal(mean, std, shape), jnp.float32)


class TestWeightNorm:
    def test_starts_as_the_layer_that_it_holds(self, rng):
        bare, x = layers.linear(4), normal(rng, 3, 5)
        params, y, _, _ = run(layers.weight_norm(bare), x, moved=False)
        plain, expected, _, _ = run(bare, x, moved=False)
        np.testing.assert_array_equal(params.direction, plain.w)
        np.testing.assert_allclose(params.gain[0], np.linalg.norm(plain.w, axis=0), rtol=1e-6)
        np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-6)

    def test_lengths_of_directions_do_not_matter_and_gradients_are_orthogonal_to_them(self, rng):
        layer = layers.weight_norm(layers.convolution(4, 3, bias=False))
        params, y, _, cache = run(layer, normal(rng, 2, 5, 5, 3))
        doubled = params._replace(
            direction=params.direction * jnp.asarray([1.0, 2, 4, 8]).reshape(1, 1, 1, 4)
        )
        x = normal(rng, 2, 5, 5, 3)
        expected = layer.predict(params, (), x)
        np.testing.assert_allclose(layer.predict(doubled, (), x), expected, rtol=1e-5, atol=1e-5)
        dparams, _ = layer.backward(params, cache, jnp.ones_like(y))
        along = (dparams.direction * params.direction).sum(axis=(0, 1, 2))
        np.testing.assert_allclose(along, 0, atol=2e-5)

    def test_equinox(self, rng):
        x = normal(rng, 3, 5)
        params, y, _, _ = run(layers.weight_norm(layers.linear(4)), x)
        peer = eqx.nn.Linear(5, 4, key=KEY)
        peer = eqx.tree_at(lambda n: (n.weight, n.bias), peer, (params.direction.T, params.layer.b))
        peer = eqx.nn.WeightNorm(peer)
        peer = eqx.tree_at(lambda n: n.g, peer, params.gain.T)
        np.testing.assert_allclose(y, jax.vmap(peer)(x), atol=1e-5)

    def test_a_slice_of_zeros_learns(self, rng):
        """Its length is √eps and not 0, so that it moves as a plain weight would."""
        layer, x = layers.weight_norm(layers.linear(2, bias=False)), normal(rng, 3, 4)
        params, state = layer.init(KEY, x)
        params = params._replace(direction=0 * params.direction, gain=jnp.full((1, 2), 1e-6))
        y, _, cache = layer.forward(params, state, x, None)
        np.testing.assert_array_equal(y, 0)
        dparams, _ = layer.backward(params, cache, jnp.ones_like(y))
        expected = np.repeat(np.asarray(x).sum(axis=0)[:, None], 2, axis=1)
        np.testing.assert_allclose(dparams.direction, expected, rtol=1e-5)

    def test_slices_along_another_axis(self, rng):
        layer = layers.weight_norm(layers.linear(4), axis=0)
        params, _, _, _ = run(layer, normal(rng, 3, 5))
        assert params.gain.shape == (5, 1)

    @pytest.mark.parametrize("wrap", [layers.weight_norm, layers.spectral_norm])
    def test_refuses_a_layer_without_a_weight(self, wrap):
        with pytest.raises(TypeError, match="a named tuple with an array `w`, got"):
            wrap(layers.tanh()).init(KEY, jnp.zeros((2, 3)))

    def test_refuses_an_axis_that_w_lacks_and_an_eps_of_zero(self):
        with pytest.raises(
            ValueError, match=r"expected w to have an axis 2, got w of shape \(3, 4\)"
        ):
            layers.weight_norm(layers.linear(4), axis=2).init(KEY, jnp.zeros((2, 3)))
        with pytest.raises(ValueError, match="expected eps > 0"):
            layers.weight_norm(layers.linear(4), eps=0.0)


class TestSpectralNorm:
    def test_the_largest_singular_value_becomes_one(self, rng):
        layer = layers.spectral_norm(layers.linear(6, bias=False), first_iterations=200)
        x = jnp.eye(5, dtype=jnp.float32)
        params, state = layer.init(KEY, x)
        w = layer.predict(params, state, x)
        assert np.linalg.svd(w, compute_uv=False)[0] == pytest.approx(1, abs=1e-5)
        sigma = np.linalg.svd(params.w, compute_uv=False)[0]
        np.testing.assert_allclose(w, params.w / sigma, rtol=1e-4, atol=1e-6)

    def test_state_follows_a_weight_that_has_changed(self, rng):
        layer, x = layers.spectral_norm(layers.linear(4), iterations=60), normal(rng, 3, 5)
        params, state = layer.init(KEY, x)
        params = params._replace(w=normal(rng, 5, 4))
        for _ in range(2):
            state = layer.forward(params, state, x, None)[1]
        u, values, v = np.linalg.svd(np.asarray(params.w, np.float64))
        assert float(state.left @ params.w @ state.right) == pytest.approx(values[0], rel=1e-5)
        assert abs(state.left @ u[:, 0]) == pytest.approx(1, abs=1e-4)
        assert abs(state.right @ v[0]) == pytest.approx(1, abs=1e-4)

    def test_one_iteration_is_the_papers(self, rng):
        layer, x = layers.spectral_norm(layers.linear(4)), normal(rng, 3, 5)
        params, state = layer.init(KEY, x)
        params = params._replace(w=normal(rng, 5, 4))
        w = np.asarray(params.w, np.float64)
        _, new, cache = layer.forward(params, state, x, None)
        left = w @ np.asarray(state.right)
        left /= np.linalg.norm(left)
        right = w.T @ left
        np.testing.assert_allclose(new.left, left, rtol=1e-5)
        np.testing.assert_allclose(new.right, right / np.linalg.norm(right), rtol=1e-5)
        np.testing.assert_array_equal(cache.right, state.right)  # this step had the old ones

    def test_converged_the_gradient_is_that_of_the_singular_value(self, rng):
        """Against autodiff through the singular value decomposition."""
        layer = layers.spectral_norm(layers.linear(3, bias=False), first_iterations=500)
        x, dy = normal(rng, 3, 4), normal(rng, 3, 3)
        params, state = layer.init(KEY, x)
        _, _, cache = layer.forward(params, state, x, None)
        dparams, _ = layer.backward(params, cache, dy)

        def y(w):
            return x @ (w / jnp.linalg.svd(w, compute_uv=False)[0])

        expected = jax.vjp(y, params.w)[1](dy)[0]
        np.testing.assert_allclose(dparams.w, expected, rtol=1e-4, atol=1e-5)

    def test_refuses_no_iterations(self):
        with pytest.raises(ValueError, match="expected at least one iteration, got 0"):
            layers.spectral_norm(layers.linear(3), iterations=0)
