"""Three-way splits and cross-validation: disjoint, complete, balanced, and the same for ever."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.model_selection import TimeSeriesSplit

from fnn.data import group_k_fold, k_fold, stratified_split, three_way_split, time_folds

LABELS = st.lists(st.integers(-2, 4), min_size=3, max_size=60)
SEEDS = st.integers(0, 2**40)
properties = settings(max_examples=100, deadline=None)


def equal(one, other):
    return all(
        np.array_equal(a, b)
        for first, second in zip(one, other, strict=True)
        for a, b in zip(first, second, strict=True)
    )


@given(labels=LABELS, seed=SEEDS, data=st.data())
@properties
def test_three_parts_are_disjoint_complete_and_stratified(labels, seed, data):
    test_count = data.draw(st.integers(1, len(labels) - 2))
    validation_count = data.draw(st.integers(1, len(labels) - test_count - 1))
    split = three_way_split(labels, validation_count, test_count, seed)
    assert sorted(np.concatenate(split)) == list(range(len(labels)))
    assert (len(split.validation), len(split.test)) == (validation_count, test_count)
    np.testing.assert_array_equal(split.test, stratified_split(labels, test_count, seed).test)
    counts = Counter(np.asarray(labels)[np.concatenate(split[:2])].tolist())
    for label, count in counts.items():
        quota = count * validation_count / (len(labels) - test_count)
        held = np.count_nonzero(np.asarray(labels)[split.validation] == label)
        assert abs(held - quota) < 1
    again = three_way_split(labels, validation_count, test_count, seed)
    assert equal([split], [again])


def test_the_second_choice_owes_nothing_to_the_first():
    """Given that it is not in the test part, every example is as likely to be validated on."""
    y, seen = np.zeros(12, int), np.zeros((12, 12))
    for seed in range(3000):
        split = three_way_split(y, 4, 4, seed)
        seen[np.ix_(split.validation, split.test)] += 1
    off_diagonal = seen[~np.eye(12, dtype=bool)]
    # 16 pairs of 132: 363.6 expected of 3000, standard deviation 18.
    assert np.abs(off_diagonal - 3000 * 16 / 132).max() < 5 * 18


def test_the_splits_of_a_seed_are_pinned():
    y = np.arange(9) % 3
    assert [part.tolist() for part in three_way_split(y, 3, 3, 0)] == [
        [7, 8, 6],
        [5, 4, 0],
        [2, 1, 3],
    ]
    folds = k_fold(y, 3, 0)
    assert [fold.validation.tolist() for fold in folds] == [[2, 1, 3], [6, 8, 7], [4, 5, 0]]
    assert [fold.validation.tolist() for fold in group_k_fold(y, 3, 0)] == [
        [2, 8, 5],
        [4, 1, 7],
        [6, 3, 0],
    ]
    assert folds[0].train.dtype == folds[0].validation.dtype == np.int64


@given(labels=LABELS, seed=SEEDS, data=st.data())
@properties
def test_every_example_is_validated_on_once_and_the_classes_are_even(labels, seed, data):
    y = np.array(labels)
    folds = k_fold(y, data.draw(st.integers(2, len(y))), seed)
    assert sorted(np.concatenate([fold.validation for fold in folds])) == list(range(len(y)))
    for fold in folds:
        assert sorted(np.concatenate(fold)) == list(range(len(y)))
    for counts in (
        [len(fold.validation) for fold in folds],
        *([np.count_nonzero(y[fold.validation] == c) for fold in folds] for c in set(labels)),
    ):
        assert max(counts) - min(counts) <= 1
    assert equal(folds, k_fold(labels, len(folds), seed))


def test_folds_are_shuffled_within_classes_and_by_the_seed():
    y = np.repeat(np.arange(5), 40)
    one, other = k_fold(y, 4, 1), k_fold(y, 4, 2)
    assert not equal(one, other)
    # Neighbours in the same fold: of 199 pairs a quarter by chance, not all and not none.
    part = np.empty(200, int)
    for i, fold in enumerate(one):
        part[fold.validation] = i
    together = np.count_nonzero(part[1:] == part[:-1])
    assert abs(together - 199 / 4) < 5 * (199 * 3 / 16) ** 0.5
    heads = [len(set(y[k_fold(y, 4, seed)[0].train[:5]])) for seed in range(200)]
    assert abs(np.mean(heads) - 5 * (1 - 0.8**5)) < 0.5  # not sorted by class


@given(groups=LABELS, seed=SEEDS, data=st.data())
@properties
def test_a_group_is_never_on_both_sides(groups, seed, data):
    names = np.array([f"film {g}" for g in groups])
    sizes = Counter(groups)
    if len(sizes) < 2:
        return
    folds = group_k_fold(names, data.draw(st.integers(2, len(sizes))), seed)
    assert sorted(np.concatenate([fold.validation for fold in folds])) == list(range(len(groups)))
    for fold in folds:
        assert sorted(np.concatenate(fold)) == list(range(len(groups)))
        assert not set(names[fold.train]) & set(names[fold.validation])
    counts = [len(fold.validation) for fold in folds]
    assert max(counts) - min(counts) <= max(sizes.values())
    assert min(counts) >= 1
    assert equal(folds, group_k_fold(names, len(folds), seed))


def test_groups_of_equal_size_are_shuffled():
    groups = np.arange(40) // 2
    assert not equal(group_k_fold(groups, 4, 1), group_k_fold(groups, 4, 2))


@given(count=st.integers(2, 80), folds=st.integers(1, 10), gap=st.integers(0, 5))
@properties
def test_time_folds_are_scikit_learns_and_never_train_on_the_future(count, folds, gap):
    try:
        ours = time_folds(count, folds, gap=gap)
    except ValueError:
        assert count // (folds + 1) < 1 or count - folds * (count // (folds + 1)) - gap < 1
        return
    for fold in ours:
        assert fold.train.max() + gap < fold.validation.min()
    if folds > 1:  # scikit-learn has no single round
        theirs = list(TimeSeriesSplit(folds, gap=gap).split(np.zeros(count)))
        assert equal(ours, theirs)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: k_fold([0, 1, 1], 1, 0), "from 2 to 3 folds of 3 examples, got 1"),
        (lambda: k_fold([0, 1, 1], 4, 0), "got 4"),
        (lambda: k_fold([0.5, 1], 2, 0), "got (2,) float64"),
        (lambda: k_fold([[0], [1]], 2, 0), "got (2, 1) int64"),
        (lambda: group_k_fold([3, 3, 3], 2, 0), "from 2 to 1 folds of 1 groups, got 2"),
        (lambda: group_k_fold([0.5, 1], 2, 0), "got (2,) float64"),
        (lambda: time_folds(5, 0), "folds ≥ 1 and gap ≥ 0, got 0 and 0"),
        (lambda: time_folds(5, 2, gap=-1), "got 2 and -1"),
        (lambda: time_folds(3, 3), "3 examples for 3 folds"),
        (lambda: time_folds(9, 2, gap=3), "would end at 0"),
        (lambda: three_way_split([0, 0, 1], 2, 1, 0), "between 1 and 1 of the 2 examples"),
        (lambda: three_way_split([0, 0, 1], 1, 3, 0), "test_count between 1 and 2"),
    ],
)
def test_what_cannot_be_folded_is_refused(call, words):
    with pytest.raises(ValueError, match="expected") as caught:
        call()
    assert words in str(caught.value)
