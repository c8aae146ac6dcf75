"""What `validate` lets through, and what it says of the rest."""

import numpy as np
import pytest

from fnn.data import Examples, validate

CLASSES = ("cat", "dog", "owl")


def good(n=6):
    x = np.linspace(0, 1, n * 4, dtype=np.float32).reshape(n, 2, 2, 1)
    return Examples(x, (np.arange(n) % 3).astype(np.int32))


def changed(array, index, value):
    array = array.copy()
    array[index] = value
    return array


@pytest.mark.parametrize(
    "examples",
    [
        good(),
        good(1),
        good()._replace(x=np.zeros((6, 4), np.float64)),
        good()._replace(x=np.zeros((6, 4), np.uint8)),
        good()._replace(y=np.zeros(6, np.uint8)),
        good()._replace(y=np.full(6, 2, np.int64)),
    ],
)
def test_good_examples_pass(examples):
    validate(examples, CLASSES)


X, Y = good()


@pytest.mark.parametrize(
    ("x", "y", "words"),
    [
        (X[:0], Y[:0], "expected at least one example, got x of shape (0, 2, 2, 1)"),
        (X[:, :0], Y, "expected at least one example, got x of shape (6, 0, 2, 1)"),
        (np.float32(1), Y, "expected at least one example, got x of shape ()"),
        (X.astype(str), Y, "expected x of real numbers, got dtype <U"),
        (X.astype(np.complex64), Y, "expected x of real numbers, got dtype complex64"),
        (X, Y[:5], "got 6 examples and 5 labels"),
        (X, Y[:, None], "expected labels y of shape (6,), got shape (6, 1)"),
        (X, np.eye(6), "expected labels y of shape (6,), got shape (6, 6)"),
        (X, Y + 0.5, "expected integer labels, got dtype float64 (y[0] = 0.5)"),
        (X, Y > 0, "expected integer labels, got dtype bool (y[0] = False)"),
        (changed(X, (2, 1, 0, 0), np.nan), Y, "got x[2, 1, 0, 0] = nan (and 0 more"),
        (changed(X, (0, 0, 0, 0), np.inf), Y, "got x[0, 0, 0, 0] = inf (and 0 more"),
        (changed(X, (5, 1, 1, 0), -np.inf), Y, "got x[5, 1, 1, 0] = -inf (and 0 more"),
        (changed(X, slice(3, 5), np.nan), Y, "got x[3, 0, 0, 0] = nan (and 7 more"),
        (X, changed(Y, 4, 3), "expected labels in 0 … 2, got y[4] = 3 (and 0 more"),
        (X, changed(Y, slice(1, 3), -1), "expected labels in 0 … 2, got y[1] = -1 (and 1 more"),
    ],
)
def test_each_fault_is_named_with_its_first_place(x, y, words):
    with pytest.raises(ValueError, match=r"^the flock: ") as caught:
        validate(Examples(x, y), CLASSES, "the flock")
    assert words in str(caught.value)
