"""What a run says of its data before it begins."""

from pathlib import Path

import numpy as np
import pytest

from experiments.plan import Config, describe
from fnn import data


@pytest.mark.parametrize(
    ("asked", "name", "folder"),
    [
        ("mnist", "mnist", "mnist"),
        ("cifar10", "cifar10-subset", "cifar10"),
        ("cifar10-jpeg", "cifar10-jpeg", "cifar10"),
    ],
)
def test_the_line_on_the_data_names_the_folder_that_is_read(asked, name, folder):
    some = data.Examples(np.zeros((2, 4, 4, 1), np.float32), np.zeros(2, np.int32))
    dataset = data.Dataset(name, some, some, ("a", "b"))
    config = Config(dataset=asked, data_dir=Path("kept"))
    assert f"({Path('kept') / folder})" in describe(dataset, config)
