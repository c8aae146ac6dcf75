"""CIFAR: made binary files against the format's definition, and the real ones where they are."""

import io
import re

import numpy as np
import pytest

from fnn.data import load, read_cifar, read_cifar10, read_cifar10_jpeg
from fnn.data.cifar import CIFAR10_CLASSES, CIFAR10_TEST_FILE, CIFAR10_TRAIN_FILES

RECORD = 3073


def record(rng, *labels):
    """A record and its image, pixel by pixel as the format says."""
    body = rng.integers(0, 256, 3072).astype(np.uint8).tobytes()
    image = [
        [[body[1024 * c + 32 * i + j] for c in range(3)] for j in range(32)] for i in range(32)
    ]
    return bytes(labels) + body, image


@pytest.fixture
def folder(tmp_path, rng):
    """Small files under the published names."""
    for n, name in enumerate([*CIFAR10_TRAIN_FILES, CIFAR10_TEST_FILE]):
        (tmp_path / name).write_bytes(b"".join(record(rng, label)[0] for label in range(n + 1)))
    (tmp_path / "batches.meta.txt").write_text("\n".join(CIFAR10_CLASSES) + "\n\n")
    return tmp_path


def test_records_are_labels_and_three_planes(rng, tmp_path):
    made = [record(rng, label) for label in (3, 0, 9)]
    path = tmp_path / "batch.bin"
    path.write_bytes(b"".join(data for data, _ in made))
    images, labels = read_cifar(path)
    np.testing.assert_array_equal(images, np.array([i for _, i in made], np.uint8), strict=True)
    np.testing.assert_array_equal(labels, np.array([[3], [0], [9]], np.uint8), strict=True)
    assert images.flags.c_contiguous
    assert images.flags.writeable


def test_two_labels_a_record_are_those_of_cifar_100(rng):
    data, image = record(rng, 19, 99)
    images, labels = read_cifar(io.BytesIO(data), classes=(20, 100))
    assert labels.tolist() == [[19, 99]]
    np.testing.assert_array_equal(images[0], image)
    with pytest.raises(ValueError, match=r"expected labels in 0 … 19, got 20 in record 1"):
        read_cifar(io.BytesIO(data + record(rng, 20, 99)[0]), classes=(20, 100))


def test_more_records_than_are_read_at_once(rng):
    data = rng.integers(0, 10, (600, RECORD)).astype(np.uint8)
    images, labels = read_cifar(io.BytesIO(data.tobytes()))
    np.testing.assert_array_equal(labels[:, 0], data[:, 0])
    np.testing.assert_array_equal(images[..., 1].reshape(600, -1), data[:, 1025:2049])


@pytest.mark.parametrize(
    ("data", "options", "words"),
    [
        (b"", {}, "expected records of 3073 bytes, got 0 bytes"),
        (bytes(3072), {}, "got 3072 bytes: 0 records and 3072 bytes"),
        (bytes(RECORD + 1), {}, "1 records and 1 bytes"),
        (bytes(RECORD) + b"\x0a" + bytes(3072), {}, "labels in 0 … 9, got 10 in record 1"),
        (bytes(2 * RECORD), {"max_bytes": RECORD}, "expected at most 3073 bytes (max_bytes)"),
        (bytes(RECORD), {"classes": (20, 100)}, "expected records of 3074 bytes"),
    ],
)
def test_what_is_no_such_file_is_refused_by_name(data, options, words, tmp_path):
    path = tmp_path / "batch.bin"
    path.write_bytes(data)
    with pytest.raises(ValueError, match=re.escape(words)) as caught:
        read_cifar(path, **options)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("classes", [(), (0,), (257,)])
def test_a_number_of_classes_that_no_byte_tells_is_refused(classes):
    with pytest.raises(ValueError, match=r"1 … 256 for each label"):
        read_cifar(io.BytesIO(bytes(RECORD)), classes=classes)


def test_the_six_files_become_two_parts(folder):
    data = read_cifar10(folder)
    assert data.train.x.shape == (15, 32, 32, 3)
    assert data.test.x.shape == (6, 32, 32, 3)
    assert data.train.x.dtype == np.float32
    assert data.train.y.dtype == np.int32
    assert data.train.y.tolist() == [0, 0, 1, 0, 1, 2, 0, 1, 2, 3, 0, 1, 2, 3, 4]
    second = read_cifar(folder / CIFAR10_TRAIN_FILES[1])
    np.testing.assert_array_equal(data.train.x[1:3], (second.images / 255).astype(np.float32))


def test_a_part_of_the_data_set_says_so_in_its_name(folder, monkeypatch):
    assert read_cifar10(folder).name == "cifar10-subset"
    monkeypatch.setattr("fnn.data.cifar.CIFAR10_COUNTS", (15, 6))
    assert read_cifar10(folder).name == "cifar10"


@pytest.mark.parametrize("name", [*CIFAR10_TRAIN_FILES, CIFAR10_TEST_FILE, "batches.meta.txt"])
def test_each_missing_file_is_named(name, folder):
    (folder / name).unlink()
    with pytest.raises(FileNotFoundError, match=re.escape(name)):
        read_cifar10(folder)


def test_other_classes_are_refused(folder):
    (folder / "batches.meta.txt").write_text("cat\ndog")
    with pytest.raises(
        ValueError, match=r"batches.meta.txt: expected the classes air.*got cat, dog"
    ):
        read_cifar10(folder)


def test_no_server_has_it_and_a_missing_folder_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"no download of 'cifar10'"):
        load("cifar10", tmp_path, download=True)
    with pytest.raises(FileNotFoundError, match=re.escape(str(tmp_path / "cifar10"))):
        load("cifar10", tmp_path)
    with pytest.raises(FileNotFoundError, match=r"cifar10-jpeg\.tar\.gz"):
        load("cifar10-jpeg", tmp_path)


TRAIN_COUNTS = [810, 777, 808, 783, 856, 782, 808, 799, 835, 810]
TEST_COUNTS = [105, 93, 100, 104, 92, 87, 114, 102, 110, 110]


@pytest.fixture(scope="module")
def exact(real_data):
    return load("cifar10", real_data)


def test_the_real_subset_has_its_numbers(exact):
    assert exact.name == "cifar10-subset"
    assert exact.train.x.shape == (8068, 32, 32, 3)
    assert exact.test.x.shape == (1017, 32, 32, 3)
    assert np.bincount(exact.train.y).tolist() == TRAIN_COUNTS
    assert np.bincount(exact.test.y).tolist() == TEST_COUNTS
    assert (exact.train.x.min(), exact.train.x.max()) == (0, 1)
    # 8,068 of 50,000 images: near the published 0.4914 0.4822 0.4465.
    mean = exact.train.x.mean(axis=(0, 1, 2), dtype=np.float64)
    np.testing.assert_allclose(mean, [0.4914, 0.4822, 0.4465], atol=0.005)


@pytest.mark.slow
def test_the_real_jpeg_tar_has_its_numbers_and_shows_the_same_images(exact, real_data, tmp_path):
    data = load("cifar10-jpeg", real_data, cache_dir=tmp_path)
    assert data.name == "cifar10-jpeg"
    assert data.classes == exact.classes
    assert data.train.x.shape == (50_000, 32, 32, 3)
    assert data.test.x.shape == (10_000, 32, 32, 3)
    assert np.bincount(data.train.y).tolist() == [5000] * 10
    assert np.bincount(data.test.y).tolist() == [1000] * 10
    mean = data.train.x.mean(axis=(0, 1, 2), dtype=np.float64)
    np.testing.assert_allclose(mean, [0.4913, 0.4821, 0.4465], atol=2e-4)
    # The records of a batch of the subset are the first of the 10,000 of the whole one.
    lossy = np.concatenate(
        [data.train.x[:4000], *(data.train.x[n : n + 1017] for n in range(10_000, 50_000, 10_000))]
    )
    for part, other in ((exact.train, lossy), (exact.test, data.test.x[:1017])):
        psnr = -10 * np.log10(np.mean((part.x - other) ** 2, axis=(1, 2, 3), dtype=np.float64))
        assert abs(psnr.mean() - 30.5) < 0.1
        assert psnr.min() > 23
    again = read_cifar10_jpeg(
        real_data / "cifar10" / "cifar10-jpeg.tar.gz", cache=tmp_path / "cifar10-jpeg.npz"
    )
    np.testing.assert_array_equal(again.test.x, data.test.x, strict=True)
    np.testing.assert_array_equal(again.train.y, data.train.y, strict=True)
