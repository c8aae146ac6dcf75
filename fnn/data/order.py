"""The order of the examples on the host: `fnn.train.batches` once more, in NumPy.

A host pipeline must know which examples step s sees without asking a device, and must see those that a
compiled epoch would: the same Feistel network on pairs, in the same 32-bit words. What it is and why is
written there; tests hold the two together, bit for bit.
"""

import functools
import math

import numpy as np
from numpy.typing import NDArray

from fnn.batch import steps_per_epoch

Words = NDArray[np.uint32]

_ROUNDS = 8
_LEAST_SIDE = 8
_BLOCK = 4096  # indices that are computed at once


def batch_indices(words: Words, step: int, count: int, batch_size: int) -> NDArray[np.intp]:
    """The indices (batch_size,) of the examples of step `step`; not to be written to.

    Args:
        words: the words of the run's key, `jax.random.key_data(key).reshape(-1)`.
        step: ≥ 0, counted over all epochs.
        count: how many examples there are.
        batch_size: how many a step sees.
    """
    steps = steps_per_epoch(count, batch_size)
    epoch, position = divmod(step, steps)
    together = max(1, _BLOCK // batch_size)
    first = position // together * together
    end = min(first + together, steps) * batch_size
    block = _permuted(int(words[0]), int(words[-1]), epoch, first * batch_size, end, count)
    start = (position - first) * batch_size
    return block[start : start + batch_size]


@functools.lru_cache(maxsize=4)
def _permuted(
    first_word: int, last_word: int, epoch: int, start: int, end: int, count: int
) -> NDArray[np.intp]:
    # Several batches at once and kept for a while: for one alone, NumPy's calls cost more than its work.
    words = np.array([first_word, last_word], np.uint32)
    indices = permute(words, epoch, np.arange(start, end, dtype=np.uint32), count)
    block = indices.astype(np.intp)
    block.flags.writeable = False
    return block


def permute(words: Words, number: int, index: Words, count: int) -> NDArray[np.int32]:
    """π(index) for the permutation of [0, count) that `words` and `number` select."""
    side = max(math.isqrt(max(count - 1, 0)) + 1, _LEAST_SIDE)
    rounds = np.arange(_ROUNDS, dtype=np.uint32) * np.uint32(0x9E3779B9)
    seeds = _mix(words[0] ^ _mix(words[-1] ^ _mix(np.uint32(number) + rounds)))
    width = np.uint32(side)

    def encrypt(value: Words) -> Words:
        a, b = np.divmod(value, width)
        for seed in seeds:
            total = a + (((_mix(b ^ seed) >> np.uint32(16)) * width) >> np.uint32(16))
            a, b = b, np.where(total < width, total, total - width)
        return a * width + b

    value = encrypt(index)
    while (outside := value >= np.uint32(count)).any():
        value[outside] = encrypt(value[outside])
    return value.astype(np.int32)


def _mix(x: Words) -> Words:
    x = (x ^ (x >> np.uint32(16))) * np.uint32(0x85EBCA6B)
    x = (x ^ (x >> np.uint32(13))) * np.uint32(0xC2B2AE35)
    return x ^ (x >> np.uint32(16))
