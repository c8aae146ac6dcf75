"""MNIST and Fashion-MNIST from their four files: made ones, and the real ones where they are."""

import gzip
import re

import numpy as np
import pytest

from fnn.data import load
from fnn.data.idx import read_idx
from fnn.data.mnist import CLASSES, TEST_FILES, TRAIN_FILES, read_mnist


def test_the_four_files_become_two_parts(mnist_folder):
    folder = mnist_folder()
    data = read_mnist("fashion-mnist", folder)
    assert data.name == "fashion-mnist"
    assert data.classes == CLASSES["fashion-mnist"]
    for part, (images, labels) in ((data.train, TRAIN_FILES), (data.test, TEST_FILES)):
        assert part.x.dtype == np.float32
        assert part.y.dtype == np.int32
        raw = read_idx(folder / images)
        np.testing.assert_array_equal(part.x, (raw / 255).astype(np.float32)[..., None])
        np.testing.assert_array_equal(part.y, read_idx(folder / labels))


@pytest.mark.parametrize("missing", [*TRAIN_FILES, *TEST_FILES])
def test_each_missing_file_is_named(missing, mnist_folder):
    folder = mnist_folder()
    (folder / missing).unlink()
    with pytest.raises(FileNotFoundError, match=re.escape(missing)):
        read_mnist("mnist", folder)


@pytest.mark.parametrize("unpacked", [TRAIN_FILES + TEST_FILES, TRAIN_FILES[:1]])
def test_unpacked_files_are_read_as_well(unpacked, mnist_folder):
    folder = mnist_folder()
    published = read_mnist("mnist", folder)
    for name in unpacked:
        packed = folder / name
        (folder / name.removesuffix(".gz")).write_bytes(gzip.decompress(packed.read_bytes()))
        packed.unlink()
    np.testing.assert_array_equal(read_mnist("mnist", folder).train.x, published.train.x)
    np.testing.assert_array_equal(read_mnist("mnist", folder).test.y, published.test.y)


def test_a_fault_in_an_unpacked_file_names_that_file(mnist_folder, idx_bytes):
    folder = mnist_folder()
    (folder / TEST_FILES[1]).unlink()
    (folder / "t10k-labels-idx1-ubyte").write_bytes(idx_bytes(np.arange(9)))
    with pytest.raises(ValueError, match=r"with t10k-labels-idx1-ubyte: expected one label"):
        read_mnist("mnist", folder)


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ({"train_labels": np.zeros(19)}, "train-images-idx3-ubyte.gz with train-labels-idx1"),
        ({"train_labels": np.zeros(19)}, "got 20 examples and 19 labels"),
        ({"t10k_labels": np.full(10, 10)}, "t10k-labels-idx1-ubyte.gz: expected labels in 0 … 9"),
        ({"t10k_labels": np.zeros((10, 1))}, "expected labels y of shape (10,), got shape (10, 1)"),
        ({"train_images": np.zeros(20)}, "expected images of shape (N, H, W), got shape (20,)"),
        ({"t10k_images": np.zeros((10, 27, 28))}, "of one size, got (28, 28) and (27, 28)"),
    ],
)
def test_files_that_do_not_belong_together_are_refused(parts, words, mnist_folder):
    with pytest.raises(ValueError, match="expected") as caught:
        read_mnist("mnist", mnist_folder(**parts))
    assert words in str(caught.value)


COUNTS = [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]


@pytest.mark.parametrize(
    ("name", "mean", "deviation", "first", "counts"),
    [
        ("mnist", 0.1307, 0.3081, [5, 0, 4, 1, 9], COUNTS),
        ("fashion-mnist", 0.2860, 0.3530, [9, 0, 0, 3, 0], [6000] * 10),
    ],
)
def test_the_published_data_has_its_published_numbers(
    name, mean, deviation, first, counts, real_data
):
    train, test = load(name, real_data)[1:3]
    assert train.x.shape == (60_000, 28, 28, 1)
    assert test.x.shape == (10_000, 28, 28, 1)
    assert round(float(train.x.mean(dtype=np.float64)), 4) == mean
    assert round(float(train.x.std(dtype=np.float64)), 4) == deviation
    assert (train.x.min(), train.x.max()) == (0, 1)
    assert train.y[:5].tolist() == first
    assert np.bincount(train.y).tolist() == counts
