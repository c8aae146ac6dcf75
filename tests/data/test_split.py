"""The stratified split: proportions, disjointness, and the same answer for ever."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fnn.data import stratified_split

LABELS = st.lists(st.integers(-2, 4), min_size=2, max_size=60)


@given(labels=LABELS, seed=st.integers(0, 2**40), data=st.data())
@settings(max_examples=300, deadline=None)
def test_every_example_is_in_one_part_and_every_class_within_one_of_its_quota(labels, seed, data):
    y = np.array(labels)
    test_count = data.draw(st.integers(1, len(y) - 1))
    split = stratified_split(y, test_count, seed)
    assert len(split.test) == test_count
    assert sorted([*split.train, *split.test]) == list(range(len(y)))
    for c in set(labels):
        quota = Fraction(labels.count(c) * test_count, len(y))
        assert abs(np.count_nonzero(y[split.test] == c) - quota) < 1
    again = stratified_split(labels, test_count, seed)
    np.testing.assert_array_equal(split.train, again.train, strict=True)
    np.testing.assert_array_equal(split.test, again.test, strict=True)


def test_whole_quotas_are_kept_exactly():
    y = np.repeat([0, 1, 2], [500, 250, 50])
    split = stratified_split(y, 160, 3)
    assert np.bincount(y[split.test]).tolist() == [100, 50, 10]
    assert np.bincount(y[split.train]).tolist() == [400, 200, 40]


def test_the_largest_remainders_take_what_is_left_over_and_the_first_of_equal_ones():
    # Quotas 2.8, 1.6, 1.6 of 6: one is left after 2 + 1 + 1 and another, for 0.8 and the first 0.6.
    y = np.repeat([0, 1, 2], [14, 8, 8])
    split = stratified_split(y, 6, 0)
    assert np.bincount(y[split.test]).tolist() == [3, 2, 1]


@pytest.mark.parametrize("part", ["train", "test"])
def test_both_parts_are_in_shuffled_order_from_their_first_example_on(part):
    """Of 10 classes, 10 random examples show 10 (1 - 0.9^10) = 6.51, standard deviation 1.

    One shuffle that both chooses and orders would show fewer at the head of the training part.
    """
    y = np.repeat(np.arange(10), 50)  # sorted by class, as packaged MNIST is
    heads = [getattr(stratified_split(y, 100, seed), part)[:10] for seed in range(200)]
    assert abs(np.mean([len(set(y[head])) for head in heads]) - 6.51) < 5 / 200**0.5


def test_the_choice_is_uniform_over_the_examples():
    y = np.repeat([0, 1], 10)
    chosen = np.zeros(20)
    for seed in range(2000):
        chosen[stratified_split(y, 6, seed).test] += 1
    # 2000 draws of probability 0.3: mean 600, standard deviation 20.5.
    assert np.abs(chosen - 600).max() < 5 * 20.5


def test_the_split_of_a_seed_is_pinned():
    split = stratified_split(np.arange(12) % 3, 3, 0)
    assert split.test.tolist() == [1, 3, 11]
    assert split.train.tolist() == [8, 9, 6, 7, 5, 10, 2, 0, 4]
    assert split.train.dtype == split.test.dtype == np.int64


@pytest.mark.parametrize(
    ("y", "test_count", "words"),
    [
        ([0, 1, 1], 0, "between 1 and 2 of 3 examples, got 0"),
        ([0, 1, 1], 3, "between 1 and 2 of 3 examples, got 3"),
        ([0, 1, 1], -1, "got -1"),
        ([0.0, 1.0], 1, "integer type, got (2,) float64"),
        ([[0], [1]], 1, "got (2, 1) int64"),
        (np.zeros(0, int), 1, "of 0 examples, got 1"),
    ],
)
def test_what_cannot_be_split_is_refused(y, test_count, words):
    with pytest.raises(ValueError, match="expected") as caught:
        stratified_split(y, test_count, 0)
    assert words in str(caught.value)
