"""Mixup and cutmix: against loops, the mass of labels, weights, and how λ is spread."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from fnn import augment, losses
from fnn.augment.mixing import beta_of
from fnn.gradient import mean_over_examples

COUNT, CLASSES = 400, 4


def one_hot(labels):
    return np.eye(CLASSES, dtype=np.float32)[labels]


@pytest.fixture(scope="module")
def results():
    """Both, of images whose pixels all differ, in one program."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(COUNT, 5, 6, 2)).astype(np.float32)
    labels = rng.integers(0, CLASSES, COUNT).astype(np.int32)
    weights = rng.random(COUNT).astype(np.float32)
    weights[[3, 7, 8, COUNT - 1]] = 0
    augmentations = {
        "mixup": augment.mixup(CLASSES, 0.4),
        "mixup 1": augment.mixup(CLASSES, 1.0),
        "mixup half": augment.mixup(CLASSES, 5.0, probability=0.5),
        "cutmix": augment.cutmix(CLASSES),
        "cutmix 0.3": augment.cutmix(CLASSES, 0.3),
    }

    @jax.jit
    def run(key):
        return {
            name: (a(key, (x, labels)), a(key, (x, labels, weights)))
            for name, a in augmentations.items()
        }

    return x, labels, weights, jax.device_get(run(jax.random.key(5)))


def share_of(x, out):
    """λ of each image that is λ x + (1 - λ) x', by least squares."""
    other = np.roll(x, -1, axis=0)
    difference = (x - other).reshape(COUNT, -1).astype(float)
    return ((out - other).reshape(COUNT, -1) * difference).sum(1) / (difference**2).sum(1)


@pytest.mark.parametrize(("name", "alpha"), [("mixup", 0.4), ("mixup 1", 1.0), ("mixup half", 5.0)])
def test_mixup_is_a_convex_combination_with_beta_shares(results, name, alpha):
    x, labels, _, out = results
    mixed, target = out[name][0]
    share = share_of(x, mixed)
    other = np.roll(x, -1, axis=0)
    lam = share[:, None, None, None]
    np.testing.assert_allclose(mixed, lam * x + (1 - lam) * other, atol=1e-5)
    soft = share[:, None] * one_hot(labels) + (1 - share[:, None]) * one_hot(np.roll(labels, -1))
    np.testing.assert_allclose(target, soft, atol=1e-5)
    if name == "mixup half":
        alone = (mixed == x).all(axis=(1, 2, 3))
        assert abs(alone.mean() - 0.5) < 4 * np.sqrt(0.25 / COUNT)
        share = share[~alone]
    assert stats.kstest(share, stats.beta(alpha, alpha).cdf).pvalue > 1e-3


@pytest.mark.parametrize(("name", "alpha"), [("cutmix", 1.0), ("cutmix 0.3", 0.3)])
def test_cutmix_puts_one_rectangle_of_the_next_image_in(results, name, alpha):
    x, labels, _, out = results
    mixed, target = out[name][0]
    other = np.roll(x, -1, axis=0)
    foreign = (mixed == other).all(axis=-1)
    np.testing.assert_array_equal(mixed, np.where(foreign[..., None], other, x))
    rows, columns = foreign.any(axis=2).sum(axis=1), foreign.any(axis=1).sum(axis=1)
    np.testing.assert_array_equal(rows * columns, foreign.sum(axis=(1, 2)))
    share = 1 - foreign.mean(axis=(1, 2))
    soft = share[:, None] * one_hot(labels) + (1 - share[:, None]) * one_hot(np.roll(labels, -1))
    np.testing.assert_allclose(target, soft, atol=1e-6)
    # What is expected of the area: over all centres, and over λ by quadrature.
    lam = stats.beta(alpha, alpha).ppf((np.arange(2000) + 0.5) / 2000)
    sides = [np.floor(n * np.sqrt(1 - lam)).astype(int) for n in (5, 6)]
    covered = [
        np.mean([np.minimum(c - s // 2 + s, n) - np.maximum(c - s // 2, 0) for c in range(n)], 0)
        for n, s in zip((5, 6), sides, strict=True)
    ]
    expected = (covered[0] * covered[1]).mean() / 30
    area = foreign.mean(axis=(1, 2))
    assert abs(area.mean() - expected) < 4 * area.std() / np.sqrt(COUNT)
    assert foreign[:, 0, 0].any()
    assert foreign[:, -1, -1].any()


@pytest.mark.parametrize("name", ["mixup", "mixup 1", "mixup half", "cutmix", "cutmix 0.3"])
def test_the_mass_of_labels_and_weights_is_kept(results, name):
    """Each row sums to 1, and each label counts as often as its weight and share say."""
    x, labels, weights, out = results
    (_, plain), (mixed, target, total) = out[name]
    np.testing.assert_allclose(plain.sum(axis=1), 1, atol=1e-6)
    assert (plain >= 0).all()
    np.testing.assert_allclose(target.sum(axis=1), 1, atol=1e-6)
    next_weight = np.roll(weights, -1)
    alone = (weights == 0) | (next_weight == 0)
    np.testing.assert_array_equal(mixed[alone], x[alone])
    np.testing.assert_array_equal(target[alone], one_hot(labels)[alone])
    np.testing.assert_array_equal(total[alone], weights[alone])
    if name.startswith("cutmix"):
        share = 1 - (mixed != x).any(axis=-1).mean(axis=(1, 2))
    else:
        share = share_of(x, mixed)
    share = np.where(alone, 1, share)[:, None]
    own, other = (
        weights[:, None] * one_hot(labels),
        next_weight[:, None] * one_hot(np.roll(labels, -1)),
    )
    np.testing.assert_allclose(
        total[:, None] * target, share * own + (1 - share) * other, atol=2e-5
    )


def test_the_loss_is_that_of_both_labels_by_their_shares_and_weights(results):
    """Zhang et al.: the loss of the mixed label is the mixed loss of the two labels."""
    _, labels, weights, out = results
    loss = losses.softmax_cross_entropy()
    logits = jnp.asarray(np.random.default_rng(1).normal(size=(COUNT, CLASSES)), jnp.float32)
    _, target, total = out["mixup"][1]
    mixed = mean_over_examples(loss.forward(logits, jnp.asarray(target))[0], jnp.asarray(total))[0]
    share = share_of(results[0], out["mixup"][1][0])
    own, other = (
        np.asarray(loss.forward(logits, jnp.asarray(t))[0], np.float64)
        for t in (labels, np.roll(labels, -1))
    )
    alone = (weights == 0) | (np.roll(weights, -1) == 0)
    share = np.where(alone, 1, share)
    parts = share * weights * own + (1 - share) * np.roll(weights, -1) * other
    assert abs(mixed - parts.sum() / total.sum()) < 1e-5


def test_padding_neither_mixes_nor_spoils_whatever_it_holds(key):
    x = jnp.asarray(np.random.default_rng(0).normal(size=(4, 3, 3, 1)), jnp.float32)
    x = x.at[2].set(jnp.nan)
    labels, weights = jnp.asarray([0, 1, -1, 2]), jnp.asarray([1, 1, 0, 1])
    for build in (augment.mixup, augment.cutmix):
        y, target, total = jax.jit(build(3))(key, (x, labels, weights))
        kept = np.array([0, 1, 3])
        assert np.isfinite(y[kept]).all()
        assert np.isfinite(target[kept]).all()
        assert float(total[2]) == 0
        np.testing.assert_array_equal(y[1], x[1])


def test_soft_labels_mix_again_and_wrong_ones_are_refused(key, rng):
    x = jnp.asarray(rng.normal(size=(3, 2, 2, 1)), jnp.float32)
    labels = jnp.asarray([0, 1, 2])
    twice = augment.compose(augment.mixup(3), augment.cutmix(3))
    np.testing.assert_allclose(jax.jit(twice)(key, (x, labels))[1].sum(axis=1), 1, atol=1e-6)
    for build in (augment.mixup, augment.cutmix):
        with pytest.raises(ValueError, match=r"labels in \[0, 2\), got 2 at example \(2,\)"):
            build(2)(key, (x, labels))
        assert np.isnan(jax.jit(build(2))(key, (x, labels))[1][2]).all()
        with pytest.raises(ValueError, match=r"shape \(3, 4\), got \(3, 3\)"):
            build(4)(key, (x, jnp.eye(3)))
        with pytest.raises(ValueError, match="expected targets of shape"):
            build(3)(key, (x, ()))
        with pytest.raises(ValueError, match="number of classes of at least 1, got 0"):
            build(0)
        with pytest.raises(ValueError, match="alpha from"):
            build(2, -1)
        with pytest.raises(ValueError, match="keeps shapes and dtypes"):
            augment.sometimes(0.5, build(3))(key, (x, labels))


@pytest.mark.parametrize("alpha", [0.05, 0.2, 1.0, 3.0, 50.0])
def test_the_shares_are_beta_distributed(alpha):
    """`scipy.stats.beta` by Kolmogorov and Smirnov, with no share that is no number."""
    rng = np.random.default_rng(2)
    u, v = rng.random((2, 4000)).astype(np.float32)
    u[:3] = 0, 0, np.float32(1 - 2**-24)
    v[:3] = 0, 0.5, 0
    share = np.asarray(beta_of(jnp.asarray(u), jnp.asarray(v), alpha))
    assert np.isfinite(share).all()
    # Below one unit in the last place of 1, a share is 0 or 1: a step that the exact law has not.
    rounded = np.clip(share, 1e-9, 1 - 1e-9)
    if alpha >= 0.2:
        assert stats.kstest(rounded, stats.beta(alpha, alpha).cdf).pvalue > 1e-3
    assert abs(share.mean() - 0.5) < 4 * np.sqrt(1 / (4 * (2 * alpha + 1)) / 4000)
    assert abs(share.var() - 1 / (4 * (2 * alpha + 1))) < 0.01
