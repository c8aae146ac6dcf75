"""The main job with augmented images: `--augment` reaches the training, and the training alone."""

import json

import pytest

from experiments import mnist

SMALL = ["--dataset", "digits", "--model", "mlp", "--no-check-gradients", "--epochs", "1"]


@pytest.mark.slow
def test_augmented_images_are_harder_to_learn(tmp_path):
    losses, accuracies = [], []
    for options in ([], ["--augment"]):
        out = tmp_path / f"run{len(options)}"
        assert mnist.main([*SMALL, "--out", str(out), *options]) == 0
        lines = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
        losses.append([line["loss"] for line in lines])
        accuracies.append(lines[-1]["test_accuracy"])
    plain, augmented = losses
    assert plain[0] != augmented[0]  # from the first call on
    assert sum(augmented) > sum(plain)
    assert accuracies[1] > 0.3  # of ten classes, after one epoch, on images as they are
