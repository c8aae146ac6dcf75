"""Every data set by its name, through one call."""

import os
from pathlib import Path
from typing import Literal, get_args

from fnn.data.cifar import CIFAR10_JPEG_FILE, read_cifar10, read_cifar10_jpeg
from fnn.data.download import download as fetch
from fnn.data.examples import Dataset
from fnn.data.mnist import read_mnist
from fnn.data.packaged import digits, packaged_mnist

Name = Literal["packaged", "digits", "mnist", "fashion-mnist", "cifar10", "cifar10-jpeg"]
NAMES: tuple[str, ...] = get_args(Name)


def load(
    name: str,
    data_dir: str | os.PathLike[str] | None = None,
    download: bool = False,
    *,
    cache_dir: str | os.PathLike[str] | None = None,
) -> Dataset:
    """The data set `name`, checked.

    "packaged" and "digits" come with installed packages, and the other arguments do not concern
    them. "mnist" and "fashion-mnist" are read from the folder of that name in `data_dir`, packed or
    unpacked; a download fetches the packed files. Both views of CIFAR-10 are in the folder `cifar10`,
    and no download fetches them:

    - "cifar10", the exact pixels, from `cifar-10-batches-bin`, the author's binary files. When they
      do not hold all 50,000 and 10,000 images, the `name` of what is returned is "cifar10-subset".
    - "cifar10-jpeg", all images with lossy pixels, from `cifar10-jpeg.tar.gz`. Decoding takes some
      ten seconds and, as an Examples is float32, 0.75 GB; a cache saves most of the time.

    Args:
        name: one of `NAMES`.
        data_dir: the folder that holds the folders of the data sets; when not given, the variable
            FNN_DATA_DIR, and when that is not set either, `data` in the working directory.
        download: first fetch the files that are not there.
        cache_dir: a folder where what is slow to decode is kept for the next time; when not given,
            the variable FNN_CACHE_DIR, and when that is not set either, nothing is kept.

    Returns:
        x float32 in [0, 1] of shape (N, H, W, C), y int32 of shape (N,).

    Raises:
        ImportError: the package that carries or decodes the data is not installed.
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
            if download:
                fetch(name, _root(data_dir))
            return read_mnist(name, _root(data_dir) / name)
        case "cifar10" | "cifar10-jpeg":
            folder = _root(data_dir) / "cifar10"
            if download:
                raise ValueError(
                    f"no download of {name!r}: expected its files in {folder}, put there by hand"
                )
            if name == "cifar10":
                return read_cifar10(folder / "cifar-10-batches-bin")
            kept = cache_dir or os.environ.get("FNN_CACHE_DIR")
            cache = Path(kept) / "cifar10-jpeg.npz" if kept else None
            return read_cifar10_jpeg(folder / CIFAR10_JPEG_FILE, cache=cache)
        case _:
            own = "; a table in a file is read with data.read_csv" if Path(name).suffix else ""
            raise ValueError(f"no data set {name!r}: expected one of {', '.join(NAMES)}{own}")


def _root(data_dir: str | os.PathLike[str] | None) -> Path:
    return Path(data_dir or os.environ.get("FNN_DATA_DIR") or "data")
