"""Run by test_checkpoint_places, twice: one of two processes that save and restore one state.

checkpoint_on_two_processes.py ADDRESS NUMBER FOLDER
"""

import os
import sys

os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=2"

import jax
import numpy as np
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from fnn import train
from fnn.train.saving.durable import _agreed


def main():
    address, number, folder = sys.argv[1], int(sys.argv[2]), sys.argv[3]
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    jax.distributed.initialize(address, 2, number)
    mesh = jax.make_mesh((4,), ("data",), axis_types=(AxisType.Auto,))

    def put(array, *spec):
        sharding = NamedSharding(mesh, PartitionSpec(*spec))
        return jax.make_array_from_callback(array.shape, sharding, lambda index: array[index])

    numbers = np.arange(32, dtype=np.float32).reshape(8, 4)
    words = np.asarray(jax.random.key_data(jax.random.key(3)))
    state = train.TrainState(
        {"w": put(numbers, "data")},
        (),
        (),
        jax.random.wrap_key_data(put(words)),
        put(np.zeros((), np.int32) + 5),
    )
    like = state._replace(params={"w": put(0 * numbers, None, "data")})
    with train.checkpoints(folder) as saved:
        saved.save(state)
        assert saved.steps() == [5]
        back = saved.restore(like).train_state
        saved.save(back, step=9)
        assert saved.steps() == [5, 9]
        again = saved.restore(state).train_state
    for tree, given in ((back, like), (again, state)):
        w = tree.params["w"]
        assert w.sharding == given.params["w"].sharding
        for shard in w.addressable_shards:
            np.testing.assert_array_equal(shard.data, numbers[shard.index])
        here = jax.random.key_data(tree.key).addressable_shards[0].data
        np.testing.assert_array_equal(here, words)
        assert int(np.asarray(tree.step)) == 5
    # A signal that one of them hears stops both.
    assert _agreed(number == 1, False) == (True, False)
    print("same")


main()
