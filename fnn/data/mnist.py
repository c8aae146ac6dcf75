"""MNIST and Fashion-MNIST from a folder with their four published files, packed or unpacked."""

import os
from pathlib import Path

import numpy as np

from fnn.data.examples import Dataset, Examples, validate
from fnn.data.idx import read_idx

# (images, labels), the names under which both data sets are published; unpacked without the `.gz`.
TRAIN_FILES = ("train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz")
TEST_FILES = ("t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz")

CLASSES = {
    "mnist": tuple("0123456789"),
    "fashion-mnist": (
        "T-shirt/top",
        "Trouser",
        "Pullover",
        "Dress",
        "Coat",
        "Sandal",
        "Shirt",
        "Sneaker",
        "Bag",
        "Ankle boot",
    ),
}


def read_mnist(name: str, folder: str | os.PathLike[str]) -> Dataset:
    """The data set `name` ("mnist" or "fashion-mnist") from the four files in `folder`.

    Each may be packed as it is published or unpacked; where both are there, the packed one is read.
    Whole, it has 60,000 training and 10,000 test images of 28 × 28; a shorter one is read as well.
    x is float32, grey levels 0 … 255 over 255.

    Y. LeCun, C. Cortes, C. Burges, 1998; H. Xiao, K. Rasul, R. Vollgraf, "Fashion-MNIST", 2017.

    Raises:
        FileNotFoundError: a file is missing; the message names it and says how to get it.
        ValueError: a file is damaged, or files do not belong together.
    """
    folder = Path(folder)
    train = _read_part(name, folder, *TRAIN_FILES)
    test = _read_part(name, folder, *TEST_FILES)
    if train.x.shape[1:] != test.x.shape[1:]:
        raise ValueError(
            f"{folder}: expected training and test images of one size, "
            f"got {train.x.shape[1:3]} and {test.x.shape[1:3]}"
        )
    return Dataset(name, train, test, CLASSES[name])


def _read_part(name: str, folder: Path, images_name: str, labels_name: str) -> Examples:
    images_file, labels_file = _file(folder, images_name), _file(folder, labels_name)
    images, labels = read_idx(images_file), read_idx(labels_file)
    if images.ndim != 3:
        raise ValueError(
            f"{images_file}: expected images of shape (N, H, W), got shape {images.shape}"
        )
    x = np.divide(images, 255, dtype=np.float32)[..., None]
    part = Examples(x, labels.astype(np.int32))
    validate(part, CLASSES[name], f"{images_file} with {labels_file.name}")
    return part


def _file(folder: Path, published: str) -> Path:
    """The file as it is published, or unpacked if only that is there."""
    packed, plain = folder / published, folder / published.removesuffix(".gz")
    return plain if plain.exists() and not packed.exists() else packed
