"""A copy of a train state that lies on several devices outlives the donation of the original."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import jax
from jax.sharding import NamedSharding, PartitionSpec
from fnn.train import TrainState, copy

place = NamedSharding(jax.make_mesh((2,), ("data",)), PartitionSpec())
state = TrainState(jax.numpy.ones(3), (), (), jax.random.key(7), jax.numpy.int32(2))
state = jax.device_put(state, place)
kept = copy(state)
jax.block_until_ready(jax.jit(lambda state: state, donate_argnums=0)(state))
assert state.params.is_deleted()
assert not any(leaf.is_deleted() for leaf in jax.tree.leaves(kept))
assert kept.key.sharding == kept.params.sharding == place
assert (jax.random.key_data(kept.key) == jax.random.key_data(jax.random.key(7))).all()
print("kept")
"""


@pytest.mark.slow
def test_no_leaf_goes_with_the_original():
    """Of a typed key on several devices, jax's own transfer makes none."""
    flags = {"XLA_FLAGS": "--xla_force_host_platform_device_count=2", "JAX_PLATFORMS": "cpu"}
    run = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env={**os.environ, **flags},
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert run.stdout == "kept\n", run.stderr
