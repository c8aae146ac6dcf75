"""CIFAR-10 and CIFAR-100: the binary files of their author, and CIFAR-10 as a tar of JPEG images.

The binary format is records of one label byte (two in CIFAR-100: coarse, fine) and 3072 pixel bytes,
channel first: the red, the green and the blue plane, each 32 rows of 32. There is no header.

A. Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fnn.data.bounded import MAX_BYTES, Source, opened, read_bytes, read_up_to
from fnn.data.examples import Dataset, Examples, validate
from fnn.data.images import Images, read_images

SIDE = 32
PIXELS = 3 * SIDE * SIDE
CIFAR10_TRAIN_FILES = tuple(f"data_batch_{n}.bin" for n in range(1, 6))
CIFAR10_TEST_FILE = "test_batch.bin"
CIFAR10_CLASSES_FILE = "batches.meta.txt"
CIFAR10_JPEG_FILE = "cifar10-jpeg.tar.gz"
CIFAR10_CLASSES = (
    "airplane",
    "automobile",
    "bird",
    "cat",
    "deer",
    "dog",
    "frog",
    "horse",
    "ship",
    "truck",
)
CIFAR10_COUNTS = (50_000, 10_000)  # images to train and to test in the complete data set
MAX_META_BYTES = 1 << 12
_BATCH = 256  # records


class Records(NamedTuple):
    """What a binary file holds."""

    images: NDArray[np.uint8]  # (N, 32, 32, 3)
    labels: NDArray[np.uint8]  # (N, number of labels of a record)


def read_cifar(
    source: Source, *, classes: Sequence[int] = (10,), max_bytes: int = MAX_BYTES
) -> Records:
    """The records of a CIFAR binary file; how many there are, its size says.

    Args:
        source: a path, or an open binary file.
        classes: how many classes each label byte of a record distinguishes: (10,) for CIFAR-10,
            (20, 100) for CIFAR-100.
        max_bytes: the largest file that is accepted.

    Returns:
        The images with the channel last, and the labels in a column each.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is empty, too large or no whole number of records, or holds a label
            that is no class.
    """
    if not classes or not all(0 < count <= 256 for count in classes):
        raise ValueError(f"expected a number of classes in 1 … 256 for each label, got {classes}")
    record = len(classes) + PIXELS
    with opened(source) as file:
        count, rest = divmod(file.stored, record)
        if rest or not count:
            raise ValueError(
                f"{file.name}: expected records of {record} bytes, "
                f"got {file.stored} bytes: {count} records and {rest} bytes"
            )
        if file.stored > max_bytes:
            raise ValueError(
                f"{file.name}: expected at most {max_bytes} bytes (max_bytes), got {file.stored}"
            )
        images = np.empty((count, SIDE, SIDE, 3), np.uint8)
        labels = np.empty((count, len(classes)), np.uint8)
        # Batch by batch, so that the file and the images are not both in memory as a whole.
        for start in range(0, count, _BATCH):
            stop = min(start + _BATCH, count)
            size = (stop - start) * record
            piece = read_up_to(file.stream, size, size)
            if len(piece) < size:
                raise ValueError(f"{file.name}: expected {file.stored} bytes, got fewer")
            rows = piece.reshape(-1, record)
            labels[start:stop] = rows[:, : len(classes)]
            planes = rows[:, len(classes) :].reshape(-1, 3, SIDE, SIDE)
            images[start:stop] = planes.transpose(0, 2, 3, 1)
    wrong = labels >= np.array(classes)
    if wrong.any():
        n, column = (int(i) for i in np.unravel_index(np.argmax(wrong), wrong.shape))
        raise ValueError(
            f"{file.name}: expected labels in 0 … {classes[column] - 1}, "
            f"got {labels[n, column]} in record {n}"
        )
    return Records(images, labels)


def read_cifar10(folder: str | os.PathLike[str]) -> Dataset:
    """CIFAR-10 from a folder with its six binary files and the names of its classes.

    A file may hold fewer than its 10,000 records. The data set is then called "cifar10-subset", so
    that no result on it is taken for one on the complete "cifar10".

    Returns:
        x float32 in [0, 1] of shape (N, 32, 32, 3).

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: a file is damaged, or names other classes than those of CIFAR-10.
    """
    folder = Path(folder)
    _check_classes(folder / CIFAR10_CLASSES_FILE)
    batches = [read_cifar(folder / name) for name in CIFAR10_TRAIN_FILES]
    train = _examples([b.images for b in batches], [b.labels[:, 0] for b in batches])
    del batches
    last = read_cifar(folder / CIFAR10_TEST_FILE)
    test = _examples([last.images], [last.labels[:, 0]])
    whole = (len(train.y), len(test.y)) == CIFAR10_COUNTS
    return Dataset("cifar10" if whole else "cifar10-subset", train, test, CIFAR10_CLASSES)


def read_cifar10_jpeg(
    path: str | os.PathLike[str], *, cache: str | os.PathLike[str] | None = None
) -> Dataset:
    """All of CIFAR-10 from a tar of JPEG images, `train/<class>/….jpg` and `test/<class>/….jpg`.

    JPEG is lossy: results are to be reported as on "CIFAR-10 (JPEG)", and the exact pixels are
    another data set, never to be mixed with this one.

    Args:
        path: the tar, packed with gzip or not.
        cache: where the decoded images are kept for the next time; see `read_images`.

    Returns:
        x float32 in [0, 1] of shape (N, 32, 32, 3), in the order of the tar.

    Raises:
        ImportError: Pillow is not installed.
        FileNotFoundError: there is no such file.
        ValueError: it is damaged, or is not such a tar.
    """
    found = read_images(path, size=(SIDE, SIDE), classes=CIFAR10_CLASSES, cache=cache)
    train, test = (_part(path, found, name) for name in ("train/", "test/"))
    if len(train.y) + len(test.y) != len(found.names):
        raise ValueError(f"{path}: expected images below train/ and test/, got others as well")
    return Dataset("cifar10-jpeg", train, test, CIFAR10_CLASSES)


def _part(path: str | os.PathLike[str], found: Images, prefix: str) -> Examples:
    at = [n for n, name in enumerate(found.names) if name.startswith(prefix)]
    if not at:
        raise ValueError(f"{path}: expected images below {prefix}, got none")
    # A slice where they lie together, as they do in the published order, is no copy.
    together = at[-1] - at[0] == len(at) - 1
    chosen = slice(at[0], at[-1] + 1) if together else np.array(at)
    return _examples([found.images[chosen]], [found.labels[chosen]])


def _examples(
    images: list[NDArray[np.uint8]], labels: list[NDArray[np.uint8]] | list[NDArray[np.int32]]
) -> Examples:
    """The images over 255, written straight into one array."""
    x = np.empty((sum(map(len, images)), *images[0].shape[1:]), np.float32)
    start = 0
    for part in images:
        np.divide(part, 255, out=x[start : start + len(part)], dtype=np.float32)
        start += len(part)
    examples = Examples(x, np.concatenate(labels).astype(np.int32))
    validate(examples, CIFAR10_CLASSES, "CIFAR-10")
    return examples


def _check_classes(path: Path) -> None:
    with opened(path) as file:
        names = read_bytes(file, MAX_META_BYTES).decode("utf-8", "replace").split()
    if tuple(names) != CIFAR10_CLASSES:
        raise ValueError(
            f"{path}: expected the classes {', '.join(CIFAR10_CLASSES)}, got {', '.join(names)}"
        )
