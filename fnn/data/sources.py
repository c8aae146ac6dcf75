"""Every data set by its name, through one call."""

import os
from pathlib import Path
from typing import Literal, get_args

from fnn.data.download import download as fetch
from fnn.data.examples import Dataset
from fnn.data.mnist import read_mnist
from fnn.data.packaged import digits, packaged_mnist

Name = Literal["packaged", "digits", "mnist", "fashion-mnist"]
NAMES: tuple[str, ...] = get_args(Name)


def load(
    name: str, data_dir: str | os.PathLike[str] | None = None, download: bool = False
) -> Dataset:
    """The data set `name`, checked.

    "packaged" and "digits" come with installed packages, and the other arguments do not concern
    them. "mnist" and "fashion-mnist" are read from the folder of that name in `data_dir`, packed or
    unpacked; a download fetches the packed files.

    Args:
        name: one of `NAMES`.
        data_dir: the folder that holds the folders of the data sets; when not given, the variable
            FNN_DATA_DIR, and when that is not set either, `data` in the working directory.
        download: first fetch the files that are not there.

    Returns:
        x float32 in [0, 1] of shape (N, H, W, 1), y int32 of shape (N,).

    Raises:
        ImportError: the package that carries the data is not installed.
        FileNotFoundError: a file is missing; the message names it and says how to get it.
        DownloadError: it could not be fetched.
        ValueError: no such data set, or a damaged file.
    """
    match name:
        case "packaged":
            return packaged_mnist()
        case "digits":
            return digits()
        case "mnist" | "fashion-mnist":
            root = Path(data_dir or os.environ.get("FNN_DATA_DIR") or "data")
            if download:
                fetch(name, root)
            return read_mnist(name, root / name)
        case _:
            raise ValueError(f"no data set {name!r}: expected one of {', '.join(NAMES)}")
