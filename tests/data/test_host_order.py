"""The order of the examples on the host is, bit for bit, the one on the device."""

import jax
import numpy as np
import pytest

from fnn.data import order
from fnn.train import batches


@pytest.mark.parametrize(
    ("count", "batch_size"), [(1, 1), (5, 2), (64, 64), (1797, 32), (60_000, 128), (2**31 - 1, 8)]
)
def test_host_and_device_name_the_same_examples(key, count, batch_size):
    steps = count // batch_size
    words = np.asarray(jax.random.key_data(key)).reshape(-1)
    on_device = jax.jit(lambda key, step: batches.batch_indices(key, step, count, batch_size))
    for step in (0, 1, steps - 1, steps, 2 * steps + 1, 2**31 - 2):
        if step < 2**31 - 1:
            expected = np.asarray(on_device(key, np.int32(step)))
            got = order.batch_indices(words, step, count, batch_size)
            np.testing.assert_array_equal(got, expected)
            assert not got.flags.writeable  # it is kept for the next batches


def test_keys_with_more_words_too():
    key = jax.random.key(7, impl="rbg")
    words = np.asarray(jax.random.key_data(key)).reshape(-1)
    assert len(words) == 4
    expected = np.asarray(batches.batch_indices(key, np.int32(9), 50, 8))
    np.testing.assert_array_equal(order.batch_indices(words, 9, 50, 8), expected)


@pytest.mark.parametrize("refusing", [order.steps_per_epoch, batches.steps_per_epoch])
@pytest.mark.parametrize(("count", "size"), [(0, 1), (5, 0), (5, 6), (2**31, 2)])
def test_both_refuse_the_same(refusing, count, size):
    with pytest.raises(ValueError, match="expected"):
        refusing(count, size)
