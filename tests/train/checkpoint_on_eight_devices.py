"""Run by test_checkpoint: a state on one mesh, saved, and restored on another shape and on one device."""

import os
import tempfile

os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=8"

import jax
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from fnn import train


def placed(state, shape, row):
    mesh = jax.make_mesh(shape, ("data", "model"), axis_types=(jax.sharding.AxisType.Auto,) * 2)

    def put(leaf):
        spec = PartitionSpec(*row) if leaf.ndim == 2 else PartitionSpec()
        return jax.device_put(leaf, NamedSharding(mesh, spec))

    return jax.tree.map(put, state)


def check(back, like, truth):
    for a, b, c in zip(*map(jax.tree.leaves, (back, like, truth)), strict=True):
        assert a.sharding == b.sharding, (a.sharding, b.sharding)
        assert a.committed == b.committed
        if jax.numpy.issubdtype(a.dtype, jax.dtypes.prng_key):
            a, c = jax.random.key_data(a), jax.random.key_data(c)
        np.testing.assert_array_equal(a, c)


def main():
    params = {
        "w": np.random.default_rng(0).normal(size=(16, 8)).astype(np.float32),
        "keys": jax.random.split(jax.random.key(3), (8, 2)),
        "empty": np.zeros((0, 8), np.float32),
    }
    truth = jax.tree.map(
        jax.numpy.asarray, train.TrainState(params, (), (), jax.random.key(1), np.int32(5))
    )
    first = placed(truth, (4, 2), ("data", "model"))
    assert len(first.params["w"].addressable_shards[0].data) == 4
    for background in (False, True):
        with (
            tempfile.TemporaryDirectory() as folder,
            train.checkpoints(folder, background=background) as saved,
        ):
            saved.save(first)
            second = placed(truth, (2, 4), ("model", "data"))
            shapes = jax.tree.map(
                lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=leaf.sharding),
                second,
            )
            for like in (first, second, truth):
                check(saved.restore(like).train_state, like, truth)
            check(saved.restore(shapes).train_state, second, truth)
    print("same")


main()
