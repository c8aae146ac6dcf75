"""Values, conventions and hard inputs of single layers, against naive formulas and published numbers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fnn import layers


def run(layer, x, key=None):
    params, state = layer.init(jax.random.key(0), x)
    y, state, cache = layer.forward(params, state, x, key)
    return params, y, state, cache


def test_linear_is_a_matrix_product(rng):
    x = rng.normal(size=(4, 3)).astype(np.float32)
    params, y, _, _ = run(layers.linear(5), jnp.asarray(x))
    np.testing.assert_allclose(
        y, x @ np.asarray(params.w) + np.asarray(params.b), rtol=1e-5, atol=1e-6
    )


def test_softmax_gives_the_numbers_of_the_lecture_notes():
    """(1, 1, 8) and (5, 2, -1, 3), as printed there to three digits."""
    _, y, _, _ = run(layers.softmax(), jnp.asarray([[1.0, 1.0, 8.0]]))
    np.testing.assert_allclose(y[0], [0.001, 0.001, 0.998], atol=5e-4)
    _, y, _, _ = run(layers.softmax(), jnp.asarray([[5.0, 2.0, -1.0, 3.0]]))
    np.testing.assert_allclose(y[0], [0.842, 0.042, 0.002, 0.114], atol=5e-4)


def test_softmax_survives_large_scores_and_its_gradient_sums_to_zero(rng):
    layer = layers.softmax()
    x = jnp.asarray([[1e4, 1e4 - 1, -np.inf], [-1e4, 0.0, 1.0]], jnp.float32)
    _, y, _, cache = run(layer, x)
    np.testing.assert_allclose(np.asarray(y).sum(axis=-1), 1, rtol=1e-6)
    _, dx = layer.backward((), cache, jnp.asarray(rng.normal(size=x.shape), jnp.float32))
    np.testing.assert_allclose(np.asarray(dx).sum(axis=-1), 0, atol=1e-6)


def test_relu_at_zero_and_at_the_ends():
    layer = layers.relu()
    x = jnp.asarray([0.0, -0.0, 1e-40, -1e-40, jnp.inf, -jnp.inf])
    _, y, _, cache = run(layer, x)
    np.testing.assert_array_equal(y, jax.nn.relu(x))
    _, dx = layer.backward((), cache, jnp.ones_like(x))
    forward_mode = jax.jvp(lambda x: layer.forward((), (), x, None)[0], (x,), (jnp.ones_like(x),))[
        1
    ]
    assert dx[0] == 0
    np.testing.assert_array_equal(dx, jax.vmap(jax.grad(jax.nn.relu))(x))
    np.testing.assert_array_equal(dx, forward_mode)
    assert np.isnan(run(layer, jnp.asarray([jnp.nan]))[1][0])


@pytest.mark.parametrize("build", [layers.sigmoid, layers.tanh])
def test_saturated_units_have_finite_values_and_no_gradient(build):
    layer = build()
    x = jnp.asarray([-jnp.inf, -1e30, 1e30, jnp.inf])
    _, y, _, cache = run(layer, x)
    _, dx = layer.backward((), cache, jnp.ones_like(x))
    assert np.isfinite(y).all()
    np.testing.assert_array_equal(dx, 0)


class TestBatchNorm:
    def test_output_is_normalized_far_from_zero(self, rng):
        """E[x²] - E[x]² would cancel here: published libraries give 300 or NaN in place of 1."""
        x = jnp.asarray(1e4 + rng.normal(size=(512, 4)), jnp.float32)
        _, y, _, _ = run(layers.batch_norm(eps=1e-5), x)
        # The float32 grid near 1e4 is 1e-3 wide, and no formula can undo that rounding of x.
        np.testing.assert_allclose(np.asarray(y).std(axis=0), 1, atol=2e-3)
        np.testing.assert_allclose(np.asarray(y).mean(axis=0), 0, atol=2e-3)

    def test_naive_formula(self, rng):
        x = rng.normal(2, 3, size=(6, 4, 5, 3))
        _, y, state, _ = run(layers.batch_norm(momentum=0.75), jnp.asarray(x, jnp.float32))
        for c in range(3):
            column = x[..., c].ravel()
            mean, var = column.mean(), column.var()
            expected = (x[..., c] - mean) / np.sqrt(var + 1e-5)
            np.testing.assert_allclose(y[..., c], expected, atol=1e-5)
            np.testing.assert_allclose(state.mean[c], 0.25 * mean, rtol=1e-5)
            np.testing.assert_allclose(state.var[c], 0.75 + 0.25 * var, rtol=1e-5)

    def test_dx_sums_to_zero_and_is_orthogonal_to_the_normalized_input(self, rng):
        """A shift and (up to eps) a scale of the batch change nothing, so dx has no part along them."""
        layer = layers.batch_norm(eps=1e-12)
        x = jnp.asarray(rng.normal(size=(64, 3)), jnp.float32)
        params, y, _, cache = run(layer, x)
        _, dx = layer.backward(params, cache, jnp.asarray(rng.normal(size=x.shape), jnp.float32))
        np.testing.assert_allclose(np.asarray(dx).sum(axis=0), 0, atol=1e-5)
        np.testing.assert_allclose((np.asarray(dx) * np.asarray(y)).sum(axis=0), 0, atol=1e-5)

    def test_predict_uses_the_running_statistics(self, rng):
        layer = layers.batch_norm(momentum=0.0)
        x = jnp.asarray(rng.normal(5, 2, size=(32, 3)), jnp.float32)
        params, y, state, _ = run(layer, x)
        np.testing.assert_allclose(layer.predict(params, state, x), y, atol=1e-5)
        alone = layer.predict(params, state, x[:1])
        np.testing.assert_allclose(alone, y[:1], atol=1e-5)

    def test_one_example_gives_the_bias(self):
        _, y, _, _ = run(layers.batch_norm(), jnp.asarray([[3.0, -7.0]]))
        np.testing.assert_array_equal(y, 0)


class TestDropout:
    def test_keeps_the_mean_and_drops_the_rate(self, key):
        x = jnp.ones((400, 500))
        y = np.asarray(run(layers.dropout(0.3), x, key)[1])
        assert abs((y == 0).mean() - 0.3) < 5 * np.sqrt(0.3 * 0.7 / y.size)
        np.testing.assert_allclose(y[y != 0], 1 / 0.7, rtol=1e-4)
        assert abs(y.mean() - 1) < 5 * np.sqrt(0.3 / 0.7 / y.size)

    def test_backward_draws_the_mask_of_forward(self, key):
        layer, x = layers.dropout(0.5), jnp.ones((40, 50))
        _, y, _, cache = run(layer, x, key)
        np.testing.assert_array_equal(layer.backward((), cache, x)[1], y)

    def test_cache_is_the_key_alone(self, key):
        cache = run(layers.dropout(0.5), jnp.ones((40, 50)), key)[3]
        assert [leaf.shape for leaf in jax.tree.leaves(cache)] == [()]

    def test_rate_zero_and_predict_are_the_identity(self, key):
        x = jnp.ones((4, 5))
        np.testing.assert_array_equal(run(layers.dropout(0.0), x, key)[1], x)
        np.testing.assert_array_equal(layers.dropout(0.5).predict((), (), x), x)

    @pytest.mark.parametrize("rate", [-0.1, 1.0, 1.5])
    def test_refuses_a_rate_out_of_range(self, rate):
        with pytest.raises(ValueError, match="fraction dropped"):
            layers.dropout(rate)


@pytest.mark.parametrize(
    ("layer", "good", "bad"),
    [
        (layers.linear(2), (4, 3), (4, 5)),
        (layers.batch_norm(), (4, 3), (4, 5)),
        (layers.convolution(2, 3), (1, 5, 5, 3), (1, 5, 5, 4)),
    ],
)
def test_wrong_width_says_what_was_expected_and_what_came(layer, good, bad):
    params, state = layer.init(jax.random.key(0), jnp.zeros(good))
    with pytest.raises(ValueError, match=rf"expected.*{good[-1]}.*got.*{bad[-1]}"):
        layer.forward(params, state, jnp.zeros(bad), None)


def test_integer_inputs_are_refused_by_layers_with_parameters():
    with pytest.raises(TypeError, match="floating"):
        layers.linear(2).init(jax.random.key(0), jnp.zeros((2, 3), jnp.int32))
