"""Rows of arrays on the host, whatever lies between them in memory and in whatever order of bytes."""

import tracemalloc

import jax
import numpy as np
import pytest

from fnn import data
from fnn.data.host_batches import Arrays

X = np.random.default_rng(0).standard_normal((50, 6)).astype(">f4")
Y = np.arange(50, dtype=">i4")


@pytest.mark.parametrize(
    "array",
    [
        data.windows(np.arange(20_000, dtype=np.int32), 64, stride=1).x,
        np.asfortranarray(np.arange(1_200_000, dtype=np.float32).reshape(20_000, 60)),
        np.arange(1_200_000, dtype=">f4").reshape(20_000, 60),
    ],
    ids=["windows", "Fortran's order", "the other bytes' order"],
)
def test_rows_cost_what_they_hold_however_the_array_lies_in_memory(array):
    chosen = np.array([7, 19_000, 7])
    tracemalloc.start()
    rows = Arrays(array).rows(chosen)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 100_000 < array.size * array.itemsize
    expected = np.stack([array[i] for i in chosen])
    np.testing.assert_array_equal(rows, expected.astype(expected.dtype.newbyteorder("=")))
    assert jax.device_put(rows).dtype == array.dtype.newbyteorder("=")


def test_examples_in_the_other_byte_order_come_one_by_one(key):
    pipeline = data.pipeline((X, Y), transform=lambda example: example, workers=0)
    x, y = next(pipeline.batches(key, 0, 8))
    assert (x.dtype, y.dtype) == (np.float32, np.int32)
    np.testing.assert_array_equal(x, X[y])
