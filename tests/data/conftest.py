"""Made IDX files, and the folder with the real ones."""

import gzip
import os
import struct
from pathlib import Path

import numpy as np
import pytest


def _idx_bytes(array, *, packed=False):
    array = np.asarray(array, np.uint8)
    data = struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.tobytes()
    return gzip.compress(data, mtime=0) if packed else data


@pytest.fixture(scope="session")
def idx_bytes():
    """`idx_bytes(array, packed=False)`: the bytes of an IDX file, written apart from the reader."""
    return _idx_bytes


@pytest.fixture(scope="module")
def scratch(tmp_path_factory):
    """The path of one file, written over by every example of a property."""
    return tmp_path_factory.mktemp("idx") / "scratch"


@pytest.fixture
def mnist_folder(tmp_path):
    """`mnist_folder(**parts)`: a small, whole data set; a part given replaces the made one."""

    def make(**parts):
        rng = np.random.default_rng(0)
        made = {
            "train_images": rng.integers(0, 256, (20, 28, 28)),
            "train_labels": np.arange(20) % 10,
            "t10k_images": rng.integers(0, 256, (10, 28, 28)),
            "t10k_labels": np.arange(10),
        }
        for key, array in (made | parts).items():
            part, kind = key.split("_")
            rank = 3 if kind == "images" else 1
            file = tmp_path / f"{part}-{kind}-idx{rank}-ubyte.gz"
            file.write_bytes(_idx_bytes(array, packed=True))
        return tmp_path

    return make


@pytest.fixture(scope="session")
def real_data():
    """The folder with `mnist/` and `fashion-mnist/`, where there is one."""
    folder = os.environ.get("FNN_DATA_DIR")
    if not folder:
        pytest.skip("FNN_DATA_DIR is not set: no real MNIST to read")
    return Path(folder)
