"""Accuracy and the confusion matrix, for labels of every integer dtype."""

import jax.numpy as jnp
import numpy as np
import pytest

from fnn import train
from fnn.train.metrics.scores import accuracy, confusion_matrix


@pytest.mark.parametrize(
    ("dtype", "classes", "label"),
    [(np.uint8, 300, 10), (np.int8, 200, -56), (np.uint32, 300, 10), (np.int32, 300, 10)],
)
def test_a_class_beyond_the_labels_dtype_is_not_taken_for_another(dtype, classes, label):
    """266 is 10 in uint8, and 200 is -56 in int8."""
    best = classes - 34 if dtype is np.uint8 else 144 if dtype is np.int8 else 266
    scores = jnp.zeros((2, classes)).at[0, best].set(1).at[1, 7].set(1)
    if dtype is np.int8:
        label = best - 256
    got = accuracy(scores, jnp.asarray([label, 7], dtype))
    np.testing.assert_array_equal(got, [0, 1])
    assert got.dtype == jnp.float32


def test_probabilities_as_targets_and_numpy_labels():
    scores = jnp.asarray([[0.1, 0.9], [jnp.nan, 1.0], [0.7, 0.2]])
    one_hot = np.asarray([[0.0, 1.0], [0.0, 1.0], [0.0, 1.0]], np.float32)
    np.testing.assert_array_equal(accuracy(scores, one_hot), [1, 0, 0])
    np.testing.assert_array_equal(accuracy(scores, np.asarray([1, 1, 0], np.uint8)), [1, 0, 1])


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.uint64, np.int64])
def test_confusion_matrix_of_any_integer_dtype(dtype):
    counts = confusion_matrix(np.asarray([0, 2, 100], dtype), np.asarray([0, 1, 100], dtype), 200)
    assert counts.sum() == 3
    assert (counts[0, 0], counts[1, 2], counts[100, 100]) == (1, 1, 1)


@pytest.mark.parametrize(
    "judged",
    [
        train.accuracy,
        train.top_k(1),
        train.brier(),
        train.negative_log_likelihood(),
        *(
            lambda y, t, made=made: made.update(made.init(), y, t)
            for made in (train.confusion(3), train.calibration())
        ),
    ],
)
@pytest.mark.parametrize(
    ("target", "got"), [(np.zeros((5, 1), np.int32), r"\(5, 1\)"), (np.zeros(5), r"\(5,\)")]
)
def test_a_target_that_would_be_compared_with_each_prediction_is_refused(judged, target, got):
    with pytest.raises(ValueError, match=f"expected .* for scores of shape .*got shape {got}"):
        judged(jnp.zeros((5, 3)), target)


def test_a_single_logit_is_no_scores_of_classes():
    with pytest.raises(ValueError, match=r"at least two classes.* got shape .*logit > 0"):
        train.accuracy(jnp.ones((5, 1)), jnp.zeros((5, 1)))
