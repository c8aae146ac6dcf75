"""Values, conventions and hard inputs of single layers, against naive formulas and published numbers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fnn import layers, pure


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


def test_tanh_keeps_the_small_derivatives_of_saturated_units():
    """1 - y² in float32 loses half of the digits of (1 + y)(1 - y) near |y| = 1."""
    layer = layers.tanh()
    y = np.float32(1) - np.arange(1, 200, dtype=np.float32) * np.float32(2.0**-24)
    cache = type(run(layer, jnp.zeros(3))[3])(jnp.asarray(np.concatenate([y, -y])))
    _, dx = layer.backward((), cache, jnp.ones(398))
    wide = np.concatenate([y, -y]).astype(np.float64)
    np.testing.assert_allclose(dx, 1 - wide**2, rtol=2e-7)


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

    def test_predict_divides_by_the_root_of_variance_and_eps(self):
        layer = layers.batch_norm(eps=0.5)
        x = jnp.asarray([[2.0, -1.0]])
        params, state = layer.init(None, x)
        state = state._replace(mean=jnp.asarray([1.0, 0.0]), var=jnp.asarray([0.0, 3.5]))
        np.testing.assert_allclose(layer.predict(params, state, x), [[np.sqrt(2), -0.5]], rtol=1e-6)

    @pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16], ids=str)
    def test_narrow_inputs_have_float32_statistics(self, rng, dtype):
        """Sums of 4096 numbers near 3 are lost in bfloat16, and overflow in float16."""
        layer = layers.batch_norm(momentum=0.0)
        x = jnp.asarray(3 + rng.normal(size=(4096, 2)) * 5, dtype)
        _, y, state, cache = run(layer, x)
        wide = np.asarray(x, np.float64)
        assert {str(a.dtype) for a in (*state, cache.offset, cache.rstd)} == {"float32"}
        np.testing.assert_allclose(state.mean, wide.mean(axis=0), rtol=1e-5)
        np.testing.assert_allclose(state.var, wide.var(axis=0), rtol=1e-5)
        expected = (wide - wide.mean(axis=0)) / np.sqrt(wide.var(axis=0) + 1e-5)
        ulp = float(jnp.finfo(dtype).eps)
        np.testing.assert_allclose(np.asarray(y, np.float64), expected, rtol=ulp, atol=ulp / 100)

    @pytest.mark.parametrize("eps", [0.0, -1.0, np.nan])
    def test_refuses_an_eps_that_keeps_nothing_from_zero(self, eps):
        with pytest.raises(ValueError, match="expected eps > 0"):
            layers.batch_norm(eps=eps)

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


def test_linear_refuses_an_input_without_features():
    with pytest.raises(ValueError, match=r"linear: .* a feature at least, got \(4, 0\)"):
        layers.linear(2).init(jax.random.key(0), jnp.zeros((4, 0)))


def test_the_backward_of_a_lifted_map_gets_jax_arrays():
    """So that what is written in it, `.at`, `.astype(bfloat16)`, works for a cotangent of numpy's."""
    seen = []

    def forward(params, x):
        seen.append(x)
        return x, ()

    def backward(params, cache, dy):
        seen.extend(jax.tree.leaves(dy))
        return params, dy

    layer = pure("identity", forward, backward)
    layer.forward((), (), np.zeros(3, np.float32), None)
    layer.predict((), (), np.zeros(3, np.float32))
    layer.backward((), (), {"a": np.zeros(3, np.float32), "b": np.zeros(2, np.float32)})
    assert len(seen) == 4
    assert all(isinstance(leaf, jax.Array) for leaf in seen)


def test_integer_inputs_are_refused_by_layers_with_parameters():
    with pytest.raises(TypeError, match="floating"):
        layers.linear(2).init(jax.random.key(0), jnp.zeros((2, 3), jnp.int32))
