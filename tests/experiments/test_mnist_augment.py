"""The main job with augmented images: `--augment` reaches the training, and the training alone."""

import json

import jax
import numpy as np
import pytest

from experiments import mnist
from fnn import augment

SMALL = ["--dataset", "digits", "--model", "mlp", "--no-check-gradients", "--epochs", "1"]


def test_images_move_by_a_part_of_their_side():
    """By two pixels of MNIST's 28, as its measured recipe does; of 8 × 8 by half of one."""
    key = jax.random.key(3)
    for side, pixels in ((28, 2), (8, 4 / 7)):
        x = jax.random.uniform(key, (5, side, side, 1))
        batch = (x, np.arange(5, dtype=np.int32))
        by_hand = augment.affine(
            augment.rotate(10),
            augment.scale(0.9, 1.1),
            augment.shear(0.1),
            augment.translate(pixels),
        )
        for ours, expected in zip(
            mnist.augmentation(side, side)(key, batch), by_hand(key, batch), strict=True
        ):
            np.testing.assert_array_equal(ours, expected)


@pytest.mark.slow
def test_digits_are_learned_in_spite_of_it(tmp_path):
    assert mnist.main([*SMALL, "--epochs", "12", "--augment", "--out", str(tmp_path)]) == 0
    assert json.loads((tmp_path / "result.json").read_text())["test_accuracy"] > 0.95


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
