"""Standardizing, PCA, ZCA and global contrast: closed forms, scikit-learn and their own inverses."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.decomposition import PCA

from fnn.data import preprocess
from fnn.data.preprocess import fitted as machinery

rng = np.random.default_rng(0)
TRAIN = (rng.standard_normal((60, 12)) @ rng.standard_normal((12, 12))).reshape(60, 2, 3, 2) + 3
OTHER = rng.standard_normal((7, 2, 3, 2))

FITS = {
    "mean image": preprocess.mean_image,
    "channel mean": preprocess.channel_mean,
    "standardize": preprocess.standardize,
    "standardize channels": preprocess.standardize_channels,
    "pca": preprocess.pca,
    "whitened pca": partial(preprocess.pca, whiten=True, epsilon=0.1),
    "zca": partial(preprocess.zca, epsilon=0.0),
    "zca, epsilon": partial(preprocess.zca, epsilon=0.5),
}
every_fit = pytest.mark.parametrize("fit", FITS.values(), ids=FITS)


def covariance(x):
    return np.cov(x.reshape(len(x), -1).astype(np.float64), rowvar=False)


def test_channel_mean_is_the_mean_over_examples_and_places():
    fitted = preprocess.channel_mean(TRAIN)
    expected = [np.mean([row[..., c] for row in TRAIN]) for c in range(2)]
    np.testing.assert_allclose(fitted.mean, expected, rtol=1e-14)
    assert fitted.examples == 60
    np.testing.assert_allclose(fitted.apply(TRAIN).mean(axis=(0, 1, 2)), [0, 0], atol=1e-14)
    assert fitted.apply(np.zeros((5, 9, 9, 2))).shape == (5, 9, 9, 2)  # images of any size


@pytest.mark.parametrize(
    ("fit", "axes"), [(preprocess.standardize, 0), (preprocess.standardize_channels, (0, 1, 2))]
)
def test_standardized_features_have_mean_0_and_variance_1(fit, axes):
    fitted = fit(TRAIN)
    np.testing.assert_allclose(fitted.mean, TRAIN.mean(axis=axes), rtol=1e-13)
    np.testing.assert_allclose(fitted.std, TRAIN.std(axis=axes), rtol=1e-13)
    out = fitted.apply(TRAIN)
    np.testing.assert_allclose(out.mean(axis=axes), 0, atol=1e-13)
    np.testing.assert_allclose(out.var(axis=axes), 1, rtol=1e-12)
    np.testing.assert_array_equal(fitted.apply(OTHER), (OTHER - fitted.mean) / fitted.std)


@given(value=st.floats(-(2.0**99), 2.0**99, width=32), count=st.integers(1, 50))
@settings(max_examples=100, deadline=None)
def test_a_constant_feature_is_found_whatever_its_value_and_becomes_0(value, count):
    x = np.stack([np.full(count, value), np.arange(count)], axis=1).astype(np.float32)
    fitted = preprocess.standardize(x)
    assert fitted.constant.tolist() == [True, count == 1]
    assert fitted.mean[0] == np.float32(value)
    assert (fitted.apply(x)[:, 0] == 0).all()
    np.testing.assert_array_equal(fitted.invert(fitted.apply(x))[:, 0], x[:, 0])


def test_a_constant_feature_that_varies_elsewhere_is_centred_only():
    fitted = preprocess.standardize(np.full((4, 1), 5.0))
    assert fitted.apply(np.array([[5.0], [7.0]])).tolist() == [[0.0], [2.0]]


@pytest.mark.parametrize("count", [60, 9], ids=["more examples", "more features"])
@pytest.mark.parametrize("whiten", [False, True])
def test_pca_is_scikit_learns(count, whiten):
    x, flat = TRAIN[:count], TRAIN[:count].reshape(count, -1)
    ours, theirs = preprocess.pca(x, 5, whiten=whiten), PCA(5, whiten=whiten, svd_solver="full")
    expected = theirs.fit_transform(flat)
    np.testing.assert_allclose(ours.variance, theirs.explained_variance_, rtol=1e-10)
    np.testing.assert_allclose(ours.share, np.cumsum(theirs.explained_variance_ratio_), rtol=1e-10)
    signs = np.sign((ours.components * theirs.components_).sum(axis=1))
    np.testing.assert_allclose(ours.components, theirs.components_ * signs[:, None], atol=1e-9)
    np.testing.assert_allclose(ours.apply(x), expected * signs, atol=1e-8)
    other = theirs.transform(OTHER.reshape(7, -1))
    np.testing.assert_allclose(ours.apply(OTHER), other * signs, atol=1e-8)
    back = theirs.inverse_transform(other).reshape(OTHER.shape)
    np.testing.assert_allclose(ours.invert(ours.apply(OTHER)), back, atol=1e-8)
    strongest = np.abs(ours.components).argmax(axis=1)
    assert (ours.components[np.arange(5), strongest] > 0).all()


@pytest.mark.parametrize("share", [0.3, 0.8, 0.99, 1.0])
def test_a_share_keeps_the_fewest_components_that_hold_it(share):
    fitted = preprocess.pca(TRAIN, share=share)
    kept = fitted.share
    assert kept[-1] >= share - 1e-12
    assert len(kept) == 1 or kept[-2] < share
    values = np.sort(np.linalg.eigvalsh(covariance(TRAIN)))[::-1]
    np.testing.assert_allclose(kept, np.cumsum(values)[: len(kept)] / values.sum(), rtol=1e-10)


def test_variances_of_bytes_in_half_precision_are_no_infinities():
    x = np.random.default_rng(0).integers(0, 256, (50, 20)).astype(np.float16)
    half, single = preprocess.pca(x), preprocess.pca(x.astype(np.float32))
    np.testing.assert_array_equal(half.share, single.share)
    assert half.apply(x).dtype == np.float16
    np.testing.assert_allclose(half.invert(half.apply(x)), x, atol=0.3)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize(
    "fit", [partial(preprocess.zca, epsilon=0.0), partial(preprocess.pca, whiten=True)]
)
def test_whitened_features_have_the_identity_as_their_covariance(fit, dtype):
    x = TRAIN.astype(dtype)
    out = fit(x).apply(x)
    assert out.dtype == dtype
    tolerance = 1e-9 if dtype == np.float64 else 1e-3
    np.testing.assert_allclose(covariance(out), np.eye(12), atol=tolerance)


@pytest.mark.parametrize("seed", range(10))
def test_a_direction_without_variance_is_not_whitened_even_if_few_are_kept(seed):
    """The eigenvalue of the second is rounding, of the size that 200 features make."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(300, 1)) * rng.normal(size=200)
    with pytest.raises(ValueError, match="1 of 2 directions without any"):
        preprocess.pca(x, 2, whiten=True)
    np.testing.assert_allclose(preprocess.pca(x, 1, whiten=True).apply(x).std(ddof=1), 1)


def test_zca_is_the_inverse_square_root_of_the_covariance():
    fitted = preprocess.zca(TRAIN, epsilon=0.25)
    damped = covariance(TRAIN) + 0.25 * np.eye(12)
    np.testing.assert_allclose(fitted.matrix @ damped @ fitted.matrix, np.eye(12), atol=1e-10)
    np.testing.assert_allclose(fitted.matrix, fitted.matrix.T, atol=1e-12)
    assert (np.linalg.eigvalsh(fitted.matrix) > 0).all()
    np.testing.assert_allclose(fitted.matrix @ fitted.inverse, np.eye(12), atol=1e-10)
    np.testing.assert_allclose(fitted.apply(TRAIN).mean(axis=0), 0, atol=1e-12)


def test_zca_of_few_examples_needs_an_epsilon_and_is_a_whitening_where_there_is_variance():
    x = TRAIN[:5]
    with pytest.raises(ValueError, match="8 of 12 directions without any"):
        preprocess.zca(x, epsilon=0)
    values = np.linalg.eigvalsh(covariance(preprocess.zca(x, epsilon=1e-9).apply(x)))
    np.testing.assert_allclose(values, [0] * 8 + [1] * 4, atol=1e-6)


@every_fit
def test_what_is_applied_can_be_inverted(fit):
    fitted = fit(TRAIN)
    np.testing.assert_allclose(fitted.invert(fitted.apply(OTHER)), OTHER, atol=1e-9)
    narrow = fit(TRAIN.astype(np.float32))
    other = OTHER.astype(np.float32)
    np.testing.assert_allclose(narrow.invert(narrow.apply(other)), other, atol=1e-4)
    assert narrow.apply(other).dtype == narrow.invert(narrow.apply(other)).dtype == np.float32


@every_fit
def test_numpy_and_compiled_jax_agree_with_the_fit_as_argument_or_constant(fit):
    fitted, x = fit(TRAIN.astype(np.float32)), OTHER.astype(np.float32)
    expected = fitted.apply(x)
    assert isinstance(expected, np.ndarray)
    both = jax.jit(lambda given, x: (given.apply(x), fitted.apply(x), given.invert(given.apply(x))))
    given, constant, back = both(fitted, jnp.asarray(x))
    np.testing.assert_allclose(given, expected, atol=2e-5)
    np.testing.assert_allclose(constant, expected, atol=2e-5)
    np.testing.assert_allclose(back, x, atol=2e-4)


@every_fit
def test_one_example_is_a_batch_of_one(fit):
    fitted = fit(TRAIN)
    one, batch = fitted.apply(OTHER[0]), fitted.apply(OTHER[:1])
    np.testing.assert_allclose(one, batch[0], rtol=1e-12)
    np.testing.assert_allclose(fitted.invert(one), fitted.invert(batch)[0], rtol=1e-12)


@every_fit
def test_a_training_part_on_the_device_is_fitted_alike(fit):
    x = TRAIN.astype(np.float32)
    jax.tree.map(partial(np.testing.assert_array_equal, strict=True), fit(jnp.asarray(x)), fit(x))


@every_fit
def test_the_fit_does_not_depend_on_how_the_rows_are_blocked(fit, monkeypatch):
    whole = fit(TRAIN)
    monkeypatch.setattr(machinery, "_BLOCK", 7 * 12)
    for one, other in zip(fit(TRAIN), whole, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-12)


def test_global_contrast_gives_every_example_its_own_mean_and_contrast():
    out = preprocess.global_contrast(scale=2.0).apply(TRAIN)
    np.testing.assert_allclose(out.mean(axis=(1, 2, 3)), 0, atol=1e-12)
    np.testing.assert_allclose(out.std(axis=(1, 2, 3)), 2, rtol=1e-12)
    contrast = preprocess.global_contrast(regularizer=10.0)
    for row, got in zip(TRAIN, contrast.apply(TRAIN), strict=True):
        naive = (row - row.mean()) / np.sqrt(((row - row.mean()) ** 2).mean() + 10)
        np.testing.assert_allclose(got, naive, rtol=1e-12)
    # Every example by itself: another one beside it changes nothing.
    np.testing.assert_array_equal(contrast.apply(TRAIN)[:1], contrast.apply(TRAIN[:1]))


def test_global_contrast_of_a_flat_example_is_0_and_faint_ones_are_bounded_by_the_floor():
    x = np.array([[3.0, 3.0], [1.0, 1.02]])
    out = preprocess.global_contrast(floor=0.1).apply(x)
    np.testing.assert_allclose(out, [[0, 0], [-0.1, 0.1]], atol=1e-7)
    half = preprocess.global_contrast().apply(np.array([[0, 60000.0]], np.float16))
    np.testing.assert_array_equal(half, np.array([[-1, 1]], np.float16), strict=True)


@every_fit
@pytest.mark.parametrize(
    ("x", "words"),
    [
        (TRAIN[..., :1], "(60, 2, 3, 1)"),
        (np.zeros(2, np.uint8), "expected"),
        (TRAIN.astype(np.float32), "float64"),
        (np.zeros(TRAIN.shape, np.uint8), "got uint8"),
    ],
)
def test_inputs_of_another_kind_are_refused(fit, x, words):
    with pytest.raises(ValueError, match="expected") as caught:
        fit(TRAIN).apply(x)
    assert words in str(caught.value)


@every_fit
@pytest.mark.parametrize("x", [TRAIN[:0], TRAIN[:, :0], TRAIN[:, 0, 0, 0], TRAIN > 3])
def test_nothing_to_fit_is_refused(fit, x):
    with pytest.raises(ValueError, match="expected at least one floating-point"):
        fit(x)


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda: preprocess.pca(TRAIN, 13), "from 1 to 12 components of 60 examples"),
        (lambda: preprocess.pca(TRAIN[:5], 5), "from 1 to 4 components of 5 examples"),
        (lambda: preprocess.pca(TRAIN, 0), "got 0"),
        (lambda: preprocess.pca(TRAIN, share=0.0), "share of the variance in (0, 1], got 0.0"),
        (lambda: preprocess.pca(TRAIN, 2, share=0.5), "components or share, got 2 and 0.5"),
        (lambda: preprocess.pca(TRAIN, epsilon=-1.0), "finite epsilon of at least 0, got -1.0"),
        (lambda: preprocess.pca(TRAIN[:1]), "at least two examples"),
        (lambda: preprocess.zca(TRAIN[:1], epsilon=1), "at least two examples"),
        (lambda: preprocess.zca(TRAIN, epsilon=float("nan")), "got nan"),
        (lambda: preprocess.zca(np.ones((5, 2)), epsilon=1), "all alike"),
        (lambda: preprocess.pca(np.ones((5, 9)) / 3), "all alike"),
        (lambda: preprocess.pca(TRAIN * [0, 1], whiten=True), "6 of 12 directions"),
        (lambda: preprocess.global_contrast(scale=0), "scale > 0"),
        (lambda: preprocess.global_contrast(regularizer=-1), "regularizer ≥ 0"),
        (lambda: preprocess.global_contrast(floor=float("inf")), "floor > 0"),
        (lambda: preprocess.global_contrast().apply(np.ones(3)), "of shape (N, …), got (3,)"),
        (lambda: preprocess.global_contrast().apply(np.ones((3, 2), int)), "got (3, 2) int64"),
    ],
)
def test_settings_that_make_no_sense_are_refused(build, words):
    with pytest.raises(ValueError, match="expected") as caught:
        build()
    assert words in str(caught.value)
