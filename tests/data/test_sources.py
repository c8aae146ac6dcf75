"""One call for every data set: names, folders, and the way to `download`."""

import re

import numpy as np
import pytest

from fnn.data import NAMES, DownloadError, load


@pytest.fixture
def data_dir(mnist_folder, tmp_path):
    """A folder with a made `mnist`."""
    files = list(mnist_folder().iterdir())
    (tmp_path / "mnist").mkdir()
    for file in files:
        file.rename(tmp_path / "mnist" / file.name)
    return tmp_path


def test_the_names():
    assert NAMES == ("packaged", "digits", "mnist", "fashion-mnist", "cifar10", "cifar10-jpeg")
    for name in ("packaged", "digits"):
        assert load(name).name == name
    with pytest.raises(ValueError, match="'cifar': expected one of packaged, digits, mnist, fash"):
        load("cifar")
    with pytest.raises(ValueError, match=r"'iris.csv': expected one of .*; .* data.read_csv"):
        load("iris.csv")


def test_the_folder_given_goes_before_the_variable_and_that_before_the_default(
    data_dir, tmp_path_factory, monkeypatch
):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    monkeypatch.setenv("FNN_DATA_DIR", str(elsewhere))
    assert load("mnist", data_dir).name == "mnist"
    with pytest.raises(FileNotFoundError, match=re.escape(str(elsewhere / "mnist"))):
        load("mnist")
    monkeypatch.setenv("FNN_DATA_DIR", str(data_dir))
    np.testing.assert_array_equal(load("mnist").test.y, np.arange(10))
    monkeypatch.delenv("FNN_DATA_DIR")
    monkeypatch.chdir(elsewhere)
    with pytest.raises(FileNotFoundError, match=r"no file data.mnist.train-images"):
        load("mnist")


def test_a_missing_data_set_is_named_with_the_ways_to_get_it(data_dir):
    with pytest.raises(
        FileNotFoundError, match=r"data_dir or .*FNN_DATA_DIR.*download=True"
    ) as caught:
        load("fashion-mnist", data_dir)
    assert str(data_dir / "fashion-mnist" / "train-images-idx3-ubyte.gz") in str(caught.value)


def test_download_does_not_take_a_file_that_is_there_on_trust(data_dir):
    """The made files are no published ones, so `download` stops before it asks any server."""
    assert load("mnist", data_dir, download=False)
    with pytest.raises(DownloadError, match="is there, but is not the published file"):
        load("mnist", data_dir, download=True)
