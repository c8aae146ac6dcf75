"""Layers that draw: their moments in closed form, what a key decides, and what inference does instead."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fnn import layers
from fnn.layers import noise_draws
from fnn.layers.linear import LinearParams

MANY = (
    200,
    500,
)  # so many draws that a mean lies within 1/60 of a standard deviation, five times over


def forward(layer, x, key, params=()):
    y, _, cache = layer.forward(params, (), jnp.asarray(x), key)
    return np.asarray(y), cache


def close_to_mean(draws, mean, deviation):
    """Within five standard errors."""
    assert abs(np.mean(draws) - mean) <= 5 * deviation / np.sqrt(np.size(draws))


class TestDraws:
    @pytest.mark.parametrize("keep", [0.5, 0.7, 0.01, 1.0])
    def test_each_is_kept_with_its_probability(self, keep, key):
        mask = np.asarray(noise_draws.kept(key, keep, (301, 333)))  # an odd number of elements
        share = noise_draws.share_kept(keep)
        assert abs(share - keep) <= 2.0**-17
        close_to_mean(mask, share, np.sqrt(share * (1 - share)))
        # Neither rows nor columns go together: the halves of a word lie half the mask apart.
        for axis in (0, 1):
            spread = mask.mean(axis=axis).var() * mask.shape[axis]
            np.testing.assert_allclose(spread, share * (1 - share), rtol=0.5)
        first, second = mask.ravel()[: mask.size // 2], mask.ravel()[mask.size // 2 + 1 :]
        close_to_mean(first & second, share**2, share)

    def test_a_tiny_rate_drops_some_and_a_tiny_share_keeps_some(self):
        assert noise_draws.share_kept(1 - 1e-9) == 1 - 2.0**-16
        assert noise_draws.share_kept(1e-9) == 2.0**-16

    def test_normals(self, key):
        z = np.asarray(noise_draws.normals(key, MANY, jnp.float32))
        close_to_mean(z, 0, 1)
        close_to_mean(z**2, 1, np.sqrt(2))
        close_to_mean(z**3, 0, np.sqrt(15))
        close_to_mean(z**4, 3, np.sqrt(96))
        assert np.isfinite(z).all()

    def test_normals_do_not_depend_on_the_dtype(self, key):
        narrow = noise_draws.normals(key, (100,), jnp.bfloat16)
        with jax.enable_x64(True):
            wide = noise_draws.normals(key, (100,), jnp.float64)
            assert (narrow.dtype, wide.dtype) == (jnp.float32, jnp.float64)
            np.testing.assert_allclose(narrow, wide, rtol=1e-5)


class TestDropoutScaledAtTest:
    def test_keeps_values_and_predicts_the_mean(self, key):
        """The lecture notes multiply by the probability of dropping, which is wrong but at 1/2."""
        layer, x = layers.dropout(0.2, scale="test"), jnp.full(MANY, 3.0)
        y, cache = forward(layer, x, key)
        assert set(np.unique(y)) == {0, 3}
        predicted = layer.predict((), (), x)
        np.testing.assert_allclose(predicted, 0.8 * 3, rtol=1e-4)
        close_to_mean(y, np.asarray(predicted)[0, 0], 3 * np.sqrt(0.16))
        np.testing.assert_array_equal(layer.backward((), cache, x)[1], y)

    def test_it_is_the_inverted_form_but_for_the_factor(self, key):
        x = jnp.ones((10, 20))
        test, _ = forward(layers.dropout(0.5, scale="test"), x, key)
        train, _ = forward(layers.dropout(0.5), x, key)
        np.testing.assert_array_equal(train, 2 * test)

    def test_no_other_scale(self):
        with pytest.raises(ValueError, match='scale "train" or "test", got \'none\''):
            layers.dropout(0.5, scale="none")


class TestSpatialDropout:
    def test_whole_channels_of_single_examples(self, key):
        y, _ = forward(layers.spatial_dropout(0.3), np.ones((400, 3, 2, 5), np.float32), key)
        assert set(np.unique(y.round(3))) == {0, np.float32(1.429)}
        np.testing.assert_array_equal(y, np.broadcast_to(y[:, :1, :1], y.shape))
        close_to_mean(y[:, 0, 0], 1, np.sqrt(0.3 / 0.7))

    def test_needs_positions(self, key):
        with pytest.raises(ValueError, match=r"positions between, got \(4, 3\); .* use dropout"):
            forward(layers.spatial_dropout(0.3), np.ones((4, 3), np.float32), key)
        with pytest.raises(ValueError, match="positions between"):
            layers.spatial_dropout(0.3).predict((), (), jnp.ones((4, 3)))


class TestAlphaDropout:
    @pytest.mark.parametrize("rate", [0.05, 0.5])
    def test_keeps_mean_and_variance_of_standard_normals(self, rate, key, rng):
        x = rng.normal(size=MANY).astype(np.float32)
        y, _ = forward(layers.alpha_dropout(rate), x, key)
        close_to_mean(y, 0, 1)
        np.testing.assert_allclose(y.var(), 1, atol=0.03)
        assert abs(x[y == np.median(y)].mean() if rate == 0.5 else 0) < 0.05

    def test_what_is_dropped_is_what_selu_gives_at_minus_infinity(self, key):
        """The formula and numbers of Klambauer and others: α' = -1.7581 before the affine map."""
        y, _ = forward(layers.alpha_dropout(0.1), np.zeros(MANY, np.float32), key)
        p, off = 0.9, -1.7580993408473766
        a = (p + off**2 * p * (1 - p)) ** -0.5
        b = -a * (1 - p) * off
        np.testing.assert_allclose(np.unique(y), [a * off + b, b], rtol=1e-4)
        np.testing.assert_allclose(jax.nn.selu(-1e9), off, rtol=1e-6)


class TestGaussian:
    def test_dropout_has_the_mean_and_variance_of_dropouts(self, key):
        y, cache = forward(layers.gaussian_dropout(0.2), np.full(MANY, 2.0, np.float32), key)
        close_to_mean(y, 2, 1)
        np.testing.assert_allclose(y.var(), 4 * 0.25, rtol=0.03)
        dx = layers.gaussian_dropout(0.2).backward((), cache, np.ones(MANY, np.float32))[1]
        np.testing.assert_allclose(dx, y / 2, rtol=1e-6)

    def test_noise_is_added_and_does_not_touch_the_gradient(self, key):
        layer = layers.gaussian_noise(0.5)
        y, cache = forward(layer, np.full(MANY, 3.0, np.float32), key)
        close_to_mean(y, 3, 0.5)
        np.testing.assert_allclose(y.std(), 0.5, rtol=0.03)
        assert jax.tree.leaves(cache) == []
        np.testing.assert_array_equal(layer.backward((), cache, y)[1], y)
        np.testing.assert_array_equal(layer.predict((), (), y), y)

    def test_no_noise(self, key):
        x = np.ones((3, 4), np.float32)
        for layer in (layers.gaussian_noise(0), layers.gaussian_dropout(0)):
            np.testing.assert_array_equal(forward(layer, x, key)[0], x)

    @pytest.mark.parametrize("stddev", [-1.0, np.inf, np.nan])
    def test_refuses_a_stddev_that_is_none(self, stddev):
        with pytest.raises(ValueError, match="a finite stddev of at least 0"):
            layers.gaussian_noise(stddev)


class TestDropConnect:
    def of(self, rng, **settings):
        layer = layers.dropconnect(3, 0.4, **settings)
        params = LinearParams(*(jnp.asarray(rng.normal(size=s), jnp.float32) for s in ((4, 3), 3)))
        return layer, params, jnp.asarray(rng.normal(size=4), jnp.float32)

    @pytest.mark.parametrize("activation", ["linear", "relu"])
    def test_predict_is_the_mean_over_masks(self, activation, rng, key):
        """Exact if linear; by the normal with the masks' mean and variance if not."""
        layer, params, x = self.of(rng, activation=activation)
        rows = jnp.broadcast_to(x, (40_000, 4))
        y, _ = forward(layer, rows, key, params)
        predicted = np.asarray(layer.predict(params, (), rows[:1]))[0]
        w, b = (np.asarray(p) for p in params)
        mean = np.asarray(x) @ w + b
        deviation = np.sqrt(
            0.4 / 0.6 * (np.asarray(x)[:, None] ** 2 * w**2).sum(0) + 0.4 / 0.6 * b**2
        )
        if activation == "linear":
            np.testing.assert_allclose(predicted, mean, rtol=1e-3, atol=1e-4)
            np.testing.assert_allclose(y.mean(axis=0), mean, atol=5 * deviation.max() / 200)
            np.testing.assert_allclose(y.std(axis=0), deviation, rtol=0.03)
        else:
            drawn = np.maximum(mean + deviation * rng.normal(size=(200_000, 3)), 0)
            np.testing.assert_allclose(
                predicted, drawn.mean(axis=0), atol=5 * deviation.max() / np.sqrt(200_000)
            )
            # Four weights are not many, and the sum is still nearer to the normal than to its mean.
            off = np.abs(y.mean(axis=0) - predicted)
            assert (off < 0.1 * deviation).all()
            assert off.max() < np.abs(y.mean(axis=0) - np.maximum(mean, 0)).max()

    def test_masks_are_of_examples_or_of_the_batch(self, rng, key):
        for mask, distinct in (("example", 20), ("batch", 1)):
            layer, params, x = self.of(rng, mask=mask)
            y, cache = forward(layer, jnp.broadcast_to(x, (20, 4)), key, params)
            assert len(np.unique(y, axis=0)) >= 0.9 * distinct
            assert len(np.unique(y, axis=0)) <= distinct
            assert [leaf.shape for leaf in jax.tree.leaves(cache)] == [(20, 4), ()]

    def test_blocks_are_as_one(self, rng, key, monkeypatch):
        """The masks of an example do not depend on how many are drawn at a time."""
        layer, params, _ = self.of(rng)
        x = jnp.asarray(rng.normal(size=(7, 4)), jnp.float32)
        dy = jnp.asarray(rng.normal(size=(7, 3)), jnp.float32)
        y, cache = forward(layer, x, key, params)
        expected = layer.backward(params, cache, dy)
        monkeypatch.setattr("fnn.layers.noise_weights._MOST_MASKED", 3 * 12)
        np.testing.assert_allclose(forward(layer, x, key, params)[0], y, rtol=1e-6)
        got = layer.backward(params, cache, dy)
        for ours, other in zip(jax.tree.leaves(got), jax.tree.leaves(expected), strict=True):
            np.testing.assert_allclose(ours, other, rtol=1e-5, atol=1e-6)

    def test_rate_zero_is_linear(self, rng, key):
        _, params, x = self.of(rng)
        expected = layers.linear(3).predict(params, (), x[None])
        for mask in ("example", "batch"):
            layer = layers.dropconnect(3, 0.0, mask=mask)
            np.testing.assert_allclose(forward(layer, x[None], key, params)[0], expected, rtol=1e-5)
            np.testing.assert_allclose(layer.predict(params, (), x[None]), expected, rtol=1e-5)
        relu = layers.dropconnect(3, 0.0, activation="relu")
        got = relu.predict(params, (), x[None])
        np.testing.assert_allclose(got, np.maximum(expected, 0), rtol=1e-5)

    @pytest.mark.parametrize(
        ("settings", "message"),
        [
            ({"features": 0}, "at least one feature, got 0"),
            ({"rate": 1.0}, "dropconnect: expected 0 <= rate < 1"),
            ({"activation": "tanh"}, '"linear" or "relu", got \'tanh\'; with another one'),
            ({"mask": "none"}, '"example" or "batch", got \'none\''),
        ],
    )
    def test_bad_settings(self, settings, message):
        with pytest.raises(ValueError, match=message):
            layers.dropconnect(**({"features": 2, "rate": 0.5} | settings))


@pytest.mark.parametrize(
    "layer",
    [
        layers.dropout(0.5), layers.alpha_dropout(0.5), layers.gaussian_dropout(0.5),
        layers.gaussian_noise(0.5), layers.dropconnect(2, 0.5),
    ],
    ids=lambda layer: layer.name,
)  # fmt: skip
def test_a_layer_that_draws_asks_for_a_key(layer):
    x = jnp.ones((3, 2))
    params, state = layer.init(jax.random.key(0), x)
    name = layer.name.partition("(")[0]
    with pytest.raises(
        ValueError, match=rf"{name}\(.*\): expected a key to draw .* with, got None"
    ):
        layer.forward(params, state, x, None)


@pytest.mark.parametrize(
    "build",
    [layers.dropout, layers.spatial_dropout, layers.alpha_dropout, layers.gaussian_dropout],
    ids=lambda build: build.__name__,
)
@pytest.mark.parametrize("rate", [-0.1, 1.0, np.nan])
def test_a_rate_is_a_fraction_dropped(build, rate):
    with pytest.raises(ValueError, match=f"{build.__name__}: expected 0 <= rate < 1, the fraction"):
        build(rate)
