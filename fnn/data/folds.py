"""Cross-validation: every example is validated on once, by a network that was not trained on it.

Stratified by class, by groups that belong together, or along time. As with `split`, the same arguments
give the same folds on every machine and with every NumPy.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray


class Fold(NamedTuple):
    """One round of cross-validation: disjoint positions."""

    train: NDArray[np.int64]
    validation: NDArray[np.int64]


def k_fold(y: ArrayLike, folds: int, seed: int) -> tuple[Fold, ...]:
    """`folds` pairs of a training and a validation part, in each of them the classes of the whole.

    The validation parts are disjoint and together all examples. The examples, class by class and shuffled
    within each, are dealt out in turn, so that no two validation parts differ by more than one in size,
    nor in how many of a class they hold. A class with fewer examples than folds is missing in some.
    Labels that are all equal make an ordinary k-fold (M. Stone, 1974; stratified: R. Kohavi, 1995).

    Args:
        y: (N,) integer labels.
        folds: 2 … N.
        seed: ≥ 0, of the shuffle.

    Raises:
        ValueError: y is not a row of integers, or folds is out of its range.
    """
    y = np.asarray(y)
    if y.ndim != 1 or y.dtype.kind not in "iu":
        raise ValueError(f"expected y of shape (N,) and integer type, got {y.shape} {y.dtype}")
    if not 2 <= folds <= len(y):
        raise ValueError(f"expected from 2 to {len(y)} folds of {len(y)} examples, got {folds}")
    draws, order = _draws(len(y), seed)
    part = np.empty(len(y), np.int64)
    part[np.lexsort((draws, y))] = np.arange(len(y)) % folds
    return _folds(part, folds, order)


def group_k_fold(groups: ArrayLike, folds: int, seed: int) -> tuple[Fold, ...]:
    """As `k_fold`, but the examples of one group are never on both sides; classes are not looked at.

    For examples that are not independent (of one patient, one speaker, one film): a network that was
    trained on some of a group is not tested by the rest of it. Groups, from the largest on, go to the
    smallest fold so far (R. Graham's rule, 1969): no two validation parts differ by more than the size of
    the largest group. Groups of equal size are shuffled.

    Args:
        groups: (N,) integers or strings, the group of each example.
        folds: 2 … the number of groups.
        seed: ≥ 0, of the shuffle.

    Raises:
        ValueError: groups is not a row of integers or strings, or there are fewer groups than folds.
    """
    groups = np.asarray(groups)
    if groups.ndim != 1 or groups.dtype.kind not in "iuUS":
        raise ValueError(
            f"expected groups of shape (N,), integers or strings, got {groups.shape} {groups.dtype}"
        )
    _, group, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    if not 2 <= folds <= len(sizes):
        raise ValueError(
            f"expected from 2 to {len(sizes)} folds of {len(sizes)} groups, got {folds}"
        )
    draws, order = _draws(len(groups), seed)
    part_of_group = np.empty(len(sizes), np.int64)
    filled = np.zeros(folds, np.int64)
    for chosen in np.lexsort((draws[: len(sizes)], -sizes)):
        part_of_group[chosen] = filled.argmin()
        filled[part_of_group[chosen]] += sizes[chosen]
    return _folds(part_of_group[group], folds, order)


def time_folds(count: int, folds: int, *, gap: int = 0) -> tuple[Fold, ...]:
    """Rounds that train on the past and validate on what comes next; nothing is shuffled.

    The last `folds` blocks of ⌊count / (folds + 1)⌋ examples are the validation parts in turn, and what
    lies at least `gap` examples before a block is its training part (L. Tashman, 2000, "rolling origin").
    Never is a network trained on what is later than what tests it.

    Args:
        count: how many examples there are, in the order of time.
        folds: ≥ 1.
        gap: examples left out between the two parts, ≥ 0: as many as an example looks back or ahead.

    Raises:
        ValueError: a count or gap out of range, or one that leaves the first training part empty.
    """
    if folds < 1 or gap < 0:
        raise ValueError(f"expected folds ≥ 1 and gap ≥ 0, got {folds} and {gap}")
    size = count // (folds + 1)
    first = count - folds * size
    if size < 1 or first - gap < 1:
        raise ValueError(
            f"expected at least one example in every part, got {count} examples for {folds} folds with a "
            f"gap of {gap}: the first part would end at {first - gap}"
        )
    every = np.arange(count)
    starts = range(first, count, size)
    return tuple(Fold(every[: start - gap], every[start : start + size]) for start in starts)


def _draws(count: int, seed: int) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    """Raw bits to choose by, and an order from other bits: PCG64's stream, which NumPy never changes."""
    bits = np.random.PCG64(seed).random_raw(2 * count).reshape(2, count)
    return bits[0], np.argsort(bits[1], kind="stable")


def _folds(part: NDArray[np.int64], folds: int, order: NDArray[np.int64]) -> tuple[Fold, ...]:
    """The rounds, if example n is validated on in round part[n]."""
    shuffled = part[order]
    return tuple(Fold(order[shuffled != i], order[shuffled == i]) for i in range(folds))
