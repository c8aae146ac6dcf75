"""Augmentation inside of a training step, and of a batch that several devices share."""

import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fnn import augment, chain, layers, losses, optimizers, train


def test_a_step_trains_on_what_the_augmentation_makes(rng):
    """With soft labels and weights; the same state and batch give the same step, another key another."""
    net = chain(flat=layers.flatten(), logits=layers.linear(3))
    loss, optimizer = losses.softmax_cross_entropy(), optimizers.sgd(0.1)
    x = jnp.asarray(rng.random((6, 5, 5, 1)), jnp.float32)
    batch = (x, jnp.asarray([0, 1, 2, 0, 1, 2]), jnp.asarray([1.0, 1, 1, 1, 0.5, 0]))
    augmentation = augment.compose(augment.random_crop(1), augment.mixup(3))
    step = train.step(
        net, loss, optimizer, augment=augmentation, metrics={"accuracy": train.accuracy}
    )
    after = []
    for seed in (0, 0, 1):
        start = train.init(net, optimizer, jax.random.key(7), x)
        state, info = step(start._replace(key=jax.random.key(seed)), batch)
        assert info.finite
        after.append(np.asarray(state.params["logits"].w))
    np.testing.assert_array_equal(after[0], after[1])
    assert not np.array_equal(after[0], after[2])


@pytest.mark.slow
def test_devices_that_share_a_batch_keep_their_images():
    """Four forced devices make what one makes, and only mixup passes images on, to a neighbour."""
    folder = Path(__file__).parent
    flags = "--xla_force_host_platform_device_count=4"
    run = subprocess.run(
        [sys.executable, folder / "augmented_on_devices.py"],
        env={**os.environ, "XLA_FLAGS": flags, "PYTHONPATH": str(folder.parents[1])},
        capture_output=True,
        text=True,
        check=True,
    )
    lines = dict(line.split(" ", 1) for line in run.stdout.splitlines())
    assert lines == {
        "affine": "4 True none",
        "crop": "4 True none",
        "colors": "4 True none",
        "mixup": "4 True collective-permute",
    }
