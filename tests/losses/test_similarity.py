"""Cosine distance, triplets and pairs: naive formulas, other libraries, vectors without a direction."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from fnn import losses
from fnn.gradient import auto_value_and_grad, value_and_grad
from fnn.layers import linear


def published(*shape):
    """The numbers of which `torch.nn.functional` gave the values below."""
    return np.sin(np.arange(np.prod(shape)) * 1.7).reshape(shape).astype(np.float32)


def run(loss, prediction, target=()):
    """Losses, and the gradient of their sum."""
    values, cache = loss.forward(prediction, target)
    return np.asarray(values), loss.backward(cache, jnp.ones(values.shape))


class TestCosineDistance:
    def test_as_pytorch(self):
        """1 - cosine_similarity of torch 2.15."""
        x = published(2, 3)
        values, _ = run(losses.cosine_distance(), x, x[:, ::-1])
        np.testing.assert_allclose(values, [0.062268745076388354, 1.7098630179798096], atol=3e-7)

    def test_a_vector_without_direction_is_at_a_right_angle_to_all(self):
        x = np.asarray([[0, 0], [1, 2], [0, 0]], np.float32)
        target = np.asarray([[1, 0], [0, 0], [0, 0]], np.float32)
        values, gradient = run(losses.cosine_distance(), x, target)
        np.testing.assert_array_equal(values, 1)
        np.testing.assert_array_equal(gradient, 0)

        def total(x):
            return losses.cosine_distance().forward(x, target)[0].sum()

        for mode in (jax.grad, jax.jacfwd):
            np.testing.assert_array_equal(mode(total)(jnp.asarray(x)), 0)

    @pytest.mark.parametrize("size", [1e-15, 1e15])
    def test_length_does_not_matter(self, size):
        x = np.asarray([[3, 4]], np.float32)
        target = np.asarray([[4, 3]], np.float32)
        values, gradient = run(losses.cosine_distance(), x * np.float32(size), target)
        np.testing.assert_allclose(values, [1 - 24 / 25], rtol=1e-5)
        expected = -(np.asarray([[0.8, 0.6]]) - 0.96 * np.asarray([[0.6, 0.8]])) / 5 / size
        np.testing.assert_allclose(gradient, expected, rtol=1e-5)

    def test_squares_out_of_range(self):
        """Too small is as if it were 0; too large is NaN, not a cosine of 0."""
        x = np.asarray([[1e-30, 0], [1e30, 0]], np.float32)
        values, gradient = run(losses.cosine_distance(), x, np.ones((2, 2), np.float32))
        np.testing.assert_array_equal(values, [1, np.nan])
        np.testing.assert_array_equal(gradient, [[0, 0], [np.nan, np.nan]])

    @pytest.mark.parametrize("bad", [np.nan, np.inf])
    def test_what_has_no_direction_gives_nan(self, bad):
        x = np.asarray([[bad, 1], [1, 1]], np.float32)
        values, gradient = run(losses.cosine_distance(), x, np.ones((2, 2), np.float32))
        np.testing.assert_array_equal(np.isnan(values), [True, False])
        assert np.isnan(gradient[0]).any()


class TestTriplet:
    def test_naive_formula(self, rng):
        a, p, n = rng.normal(size=(3, 6, 4)).astype(np.float32)
        near, far = ((a - p) ** 2).sum(axis=1), ((a - n) ** 2).sum(axis=1)
        values, _ = run(losses.triplet(), (a, p, n))
        np.testing.assert_allclose(values, np.maximum(near - far + 0.2, 0), rtol=1e-5, atol=1e-6)

    def test_as_pytorch(self):
        """triplet_margin_loss(margin=1, p=2, eps=0, reduction="none") of torch 2.15."""
        values, _ = run(losses.triplet(1.0, distance="euclidean"), tuple(published(3, 2, 3)))
        np.testing.assert_allclose(values, [1.4291523745437367, 1.2555325099703725], rtol=1e-6)

    @pytest.mark.parametrize("distance", ["squared", "euclidean"])
    def test_corners(self, distance):
        """Equal vectors, and a margin that is met exactly."""
        loss = losses.triplet(1.0, distance=distance)
        a = np.asarray([[1, 1], [0, 0]], np.float32)
        n = np.asarray([[1, 1], [1, 0]], np.float32)
        values, gradient = run(loss, (a, a, n))
        np.testing.assert_array_equal(values, [1, 0])
        assert all((np.asarray(leaf) == 0).all() for leaf in gradient)
        by_autodiff = jax.grad(lambda x: loss.forward(x, ())[0].sum())((a, a, n))
        assert all((np.asarray(leaf) == 0).all() for leaf in by_autodiff)

    def test_a_nan_does_not_disappear(self):
        a, ones = np.asarray([[np.nan, 0]], np.float32), np.ones((1, 2), np.float32)
        values, gradient = run(losses.triplet(), (a, ones, ones))
        assert np.isnan(values).all()
        assert all(np.isnan(leaf).any() for leaf in gradient)

    def test_bad_input(self):
        a = np.ones((2, 3), np.float32)
        with pytest.raises(ValueError, match="distance 'squared' or 'euclidean', got 'cosine'"):
            losses.triplet(distance="cosine")
        with pytest.raises(ValueError, match="0 <= margin < ∞, got -1"):
            losses.triplet(-1)
        for given in (a, (a, a)):
            with pytest.raises(ValueError, match=r"\(anchor, positive, negative\), got"):
                losses.triplet().forward(given, ())
        with pytest.raises(ValueError, match=r"3 arrays \(N, D\) of one shape"):
            losses.triplet().forward((a, a, a[:1]), ())
        with pytest.raises(ValueError, match=r"expected no target.*give \(\)"):
            losses.triplet().forward((a, a, a), np.zeros(2, int))


class TestPairs:
    def test_naive_formula(self, rng):
        """The equation of Chen et al. (2020), pair by pair."""
        a, b = rng.normal(size=(2, 4, 3)).astype(np.float32)
        z = np.concatenate([a, b])
        z = z / np.linalg.norm(z, axis=1, keepdims=True)
        s = z @ z.T / 0.5
        one = np.asarray(
            [
                -s[i, (i + 4) % 8] + np.log(sum(np.exp(s[i, k]) for k in range(8) if k != i))
                for i in range(8)
            ]
        )
        values, _ = run(losses.nt_xent(), (a, b))
        np.testing.assert_allclose(values, (one[:4] + one[4:]) / 2, rtol=1e-5)

    def test_as_optax(self, rng):
        """ntxent of optax takes one array with a label a pair, and means over all rows."""
        a, b = rng.normal(size=(2, 4, 3)).astype(np.float32)
        labels = jnp.tile(jnp.arange(4), 2)
        with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
            expected = optax.losses.ntxent(jnp.concatenate([a, b]), labels, temperature=0.3)
        values, _ = run(losses.nt_xent(0.3), (a, b))
        np.testing.assert_allclose(values.mean(), expected, rtol=1e-5)

    def test_one_pair_alone_has_nothing_to_be_told_from(self, rng):
        a, b = rng.normal(size=(2, 1, 3)).astype(np.float32)
        values, gradient = run(losses.nt_xent(), (a, b))
        np.testing.assert_allclose(values, 0, atol=1e-6)
        np.testing.assert_allclose(np.stack(gradient), 0, atol=1e-6)

    def test_collapse_costs_the_logarithm_of_the_choices(self):
        ones = np.ones((5, 3), np.float32)
        values, gradient = run(losses.nt_xent(), (ones, ones))
        np.testing.assert_allclose(values, np.log(9), rtol=1e-6)
        np.testing.assert_allclose(np.stack(gradient), 0, atol=1e-6)

    def test_a_small_temperature_does_not_overflow(self, rng):
        a, b = rng.normal(size=(2, 4, 3)).astype(np.float32)
        values, gradient = run(losses.nt_xent(1e-3), (a, b))
        assert np.isfinite(values).all()
        assert np.isfinite(np.stack(gradient)).all()

    def test_a_vector_without_direction_is_safe_in_both_modes(self, rng):
        a, b = rng.normal(size=(2, 3, 2)).astype(np.float32)
        a[1] = 0
        loss = losses.nt_xent()
        _, gradient = run(loss, (a, b))
        np.testing.assert_array_equal(gradient[0][1], 0)
        for mode in (jax.grad, jax.jacfwd):
            by_autodiff = mode(lambda x: loss.forward(x, ())[0].sum())((a, b))
            np.testing.assert_allclose(gradient, by_autodiff, atol=1e-6)

    def test_kept_are_vectors_and_no_similarities(self):
        """64 pairs have 128² of them."""
        pair = (jnp.zeros((64, 8)), jnp.zeros((64, 8)))
        _, cache = jax.eval_shape(losses.nt_xent().forward, pair, ())
        assert sum(leaf.size for leaf in jax.tree.leaves(cache)) == 128 * (8 + 1 + 1)

    def test_the_examples_of_a_batch_depend_on_each_other_and_the_mean_knows(self, rng, key):
        """The gradient of a whole network, whose loss is no sum of parts."""
        views = jnp.asarray(rng.normal(size=(4, 2, 3)), jnp.float32)
        net = linear(5)
        pairs = losses.Loss(
            "views",
            lambda y, target: losses.nt_xent().forward((y[:, 0], y[:, 1]), target),
            lambda cache, g: jnp.stack(losses.nt_xent().backward(cache, g), axis=1),
        )
        params, state = net.init(key, views)
        hand = value_and_grad(net, pairs)(params, state, views, ())
        auto = auto_value_and_grad(net, pairs)(params, state, views, ())
        for got, expected in zip(jax.tree.leaves(hand), jax.tree.leaves(auto), strict=True):
            np.testing.assert_allclose(got, expected, atol=1e-6)

    def test_bad_input(self):
        with pytest.raises(ValueError, match="0 < temperature < ∞, got 0"):
            losses.nt_xent(0)
        with pytest.raises(ValueError, match=r"\(first view, second view\), got tuple of 3"):
            losses.nt_xent().forward((1.0, 1.0, 1.0), ())
