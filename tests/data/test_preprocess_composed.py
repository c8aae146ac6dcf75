"""Steps of preprocessing in a row: each fitted on what the others make, on the training part alone."""

from functools import partial

import jax
import numpy as np
import pytest

from fnn.data import load, preprocess
from fnn.train import load_weights, save_weights

TRAIN = np.random.default_rng(0).random((60, 2, 3, 2)) + 3
zca = partial(preprocess.zca, epsilon=0.5)


def test_steps_are_fitted_one_on_what_the_other_makes():
    x = TRAIN.astype(np.float32)
    steps = (preprocess.global_contrast(), preprocess.standardize, zca)
    fitted = preprocess.fit(x, *steps)
    first = steps[0].apply(x)
    second = preprocess.standardize(first)
    third = preprocess.zca(second.apply(first), epsilon=0.5)
    np.testing.assert_array_equal(fitted.steps[2].matrix, third.matrix)
    np.testing.assert_array_equal(fitted.apply(x), third.apply(second.apply(first)))
    with pytest.raises(TypeError, match="can be inverted, got GlobalContrast"):
        fitted.invert(x)
    undoable = preprocess.compose(*fitted.steps[1:])
    np.testing.assert_allclose(undoable.invert(undoable.apply(first)), first, atol=1e-4)


def test_a_data_set_is_fitted_on_its_training_part_alone():
    digits = load("digits")
    small = digits._replace(
        train=digits.train._replace(x=digits.train.x[:300], y=digits.train.y[:300])
    )
    out, fitted = preprocess.preprocessed(small, preprocess.standardize, zca)
    np.testing.assert_array_equal(out.train.x, fitted.apply(small.train.x))
    np.testing.assert_array_equal(out.test.x, fitted.apply(small.test.x))
    far = small._replace(test=small.test._replace(x=small.test.x + 100))
    again = preprocess.preprocessed(far, preprocess.standardize, zca)[1]
    jax.tree.map(np.testing.assert_array_equal, again, fitted)
    assert fitted.steps[0].constant.any()  # the corners of the digits are always black
    np.testing.assert_array_equal(out.train.y, small.train.y)


def test_what_is_fitted_is_saved_with_the_network(tmp_path):
    x = TRAIN.astype(np.float32)
    fitted = preprocess.fit(
        x,
        preprocess.global_contrast(),
        preprocess.standardize,
        partial(preprocess.pca, whiten=True, epsilon=0.1),
    )
    save_weights(tmp_path / "w.safetensors", {}, {}, constants=fitted)
    loaded = load_weights(tmp_path / "w.safetensors", {}, {}, constants=fitted).constants
    np.testing.assert_array_equal(loaded.apply(x), fitted.apply(x))
    assert loaded.steps[1].examples == 60


@pytest.mark.parametrize("step", [3, preprocess.GlobalContrast, None])
def test_steps_that_are_none_are_refused(step):
    with pytest.raises(TypeError, match="expected fitted steps"):
        preprocess.compose(step)


def test_fits_that_are_none_are_refused():
    with pytest.raises(TypeError, match="expected a function of the training part, got 3"):
        preprocess.fit(TRAIN, 3)
    with pytest.raises(TypeError, match="expected fitted steps with a method apply"):
        preprocess.fit(TRAIN, lambda x: x)
