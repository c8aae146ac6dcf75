"""Batches: a permutation an epoch, a pure function of key and step, and evenly shuffled."""

import math
from collections import Counter

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fnn.batch import steps_per_epoch
from fnn.train.batches import batch_indices, permute


def orders(key, count, numbers) -> np.ndarray:
    words = jax.random.key_data(key)
    every = jnp.arange(count, dtype=jnp.uint32)
    run = jax.jit(jax.vmap(lambda number: permute(words, number, every, count)))
    return np.asarray(run(jnp.arange(numbers, dtype=jnp.uint32)))


@pytest.mark.parametrize("count", [1, 2, 3, 4, 7, 64, 65, 100, 1797, 60_000])
def test_every_order_is_a_permutation(key, count):
    for order in orders(key, count, 3):
        np.testing.assert_array_equal(np.sort(order), np.arange(count))


@pytest.mark.parametrize("count", [4, 5, 6])
def test_all_orders_of_a_few_are_equally_likely(key, count):
    """Chi-square over all count! orders, 100 expected of each: within five standard deviations."""
    kinds = math.factorial(count)
    seen = Counter(map(tuple, orders(key, count, 100 * kinds)))
    counts = np.asarray(list(seen.values()) + [0] * (kinds - len(seen)))
    chi_square = ((counts - 100) ** 2 / 100).sum()
    freedom = kinds - 1
    assert abs(chi_square - freedom) < 5 * math.sqrt(2 * freedom)


def test_places_and_neighbours_are_even(key):
    """Every index is equally often in every place, and after every other one."""
    count, numbers = 50, 20_000
    drawn = orders(key, count, numbers)
    places = np.stack([np.bincount(drawn[:, i], minlength=count) for i in range(count)])
    expected = numbers / count
    freedom = (count - 1) ** 2
    chi_square = ((places - expected) ** 2 / expected).sum()
    assert abs(chi_square - freedom) < 5 * math.sqrt(2 * freedom)
    differences = (drawn[:, 1:] - drawn[:, :-1]) % count
    seen = np.bincount(differences.ravel(), minlength=count)[1:]
    chi_square = ((seen - seen.mean()) ** 2 / seen.mean()).sum()
    assert chi_square < (count - 2) + 5 * math.sqrt(2 * (count - 2))


def test_an_epoch_sees_every_example_once_and_the_next_one_in_another_order(key):
    batch = jax.jit(lambda step: batch_indices(key, step, 30, 7))
    epochs = [np.concatenate([batch(jnp.int32(e * 4 + i)) for i in range(4)]) for e in range(3)]
    for order in epochs:
        assert len(set(order)) == 28
        assert order.min() >= 0
        assert order.max() < 30
    assert not np.array_equal(epochs[0], epochs[1])
    assert set(epochs[0]) != set(epochs[1])  # what is left over differs
    np.testing.assert_array_equal(batch(jnp.int32(5)), batch(jnp.int32(5)))
    other = batch_indices(jax.random.key(1), jnp.int32(5), 30, 7)
    assert not np.array_equal(batch(jnp.int32(5)), other)


@pytest.mark.parametrize(
    ("count", "size", "message"),
    [(0, 1, "at least one example, got 0"), (5, 6, "to the 5 examples, got 6"), (5, 0, "got 0")],
)
def test_impossible_batches_are_refused(count, size, message):
    with pytest.raises(ValueError, match=message):
        steps_per_epoch(count, size)


@pytest.mark.parametrize("word", [0, 1])
def test_every_word_of_the_key_counts(word):
    words = np.zeros(2, np.uint32)
    words[word] = 1
    plain, other = (
        batch_indices(jax.random.wrap_key_data(jnp.asarray(w)), jnp.int32(0), 100, 50)
        for w in (np.zeros(2, np.uint32), words)
    )
    assert not np.array_equal(plain, other)
