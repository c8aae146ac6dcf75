"""The main job reaches the accuracy that the README promises. Minutes, so marked slow."""

import json
import os
from pathlib import Path

import pytest

from experiments import mnist

pytestmark = pytest.mark.slow


def accuracy(out: Path, *arguments: str) -> float:
    assert mnist.main([*arguments, "--no-check-gradients", "--out", str(out)]) == mnist.DONE
    return json.loads((out / "result.json").read_text())["test_accuracy"]


def test_packaged_images_with_the_defaults(tmp_path):
    assert accuracy(tmp_path) >= 0.975


def test_the_perceptron_on_all_of_mnist(tmp_path):
    folder = os.environ.get("FNN_DATA_DIR")
    if not folder or not (Path(folder) / "mnist").is_dir():
        pytest.skip("needs the full MNIST files: set FNN_DATA_DIR to the folder that holds mnist/")
    assert accuracy(tmp_path, "--dataset", "mnist", "--model", "mlp", "--data-dir", folder) >= 0.983
