"""One set of labelled examples, cut in two or three with the same class proportions in every part."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray


class Split(NamedTuple):
    """Two disjoint sets of positions that together are all of them, each in shuffled order."""

    train: NDArray[np.int64]  # (N - test_count,)
    test: NDArray[np.int64]  # (test_count,)


class ThreeWay(NamedTuple):
    """Three disjoint sets of positions that together are all of them, each in shuffled order."""

    train: NDArray[np.int64]
    validation: NDArray[np.int64]  # (validation_count,)
    test: NDArray[np.int64]  # (test_count,)


def stratified_split(y: ArrayLike, test_count: int, seed: int) -> Split:
    """Positions of a training and a test part with the class proportions of the whole.

    Of the N_c examples of class c, the test part takes the quota q_c = N_c · test_count / N when
    all quotas are whole numbers. Otherwise it takes ⌊q_c⌋, and one more in the classes with the
    largest remainders (the first of equal ones) until there are `test_count` (Hamilton's method,
    1792), so that no class is off its quota by 1 or more.

    The same arguments give the same split on every machine and with every NumPy: the order comes
    from the raw bits of PCG64, a stream which NumPy never changes, unlike that of `permutation`.

    Args:
        y: (N,) integer labels.
        test_count: how many of the N examples are for testing, 1 … N - 1.
        seed: ≥ 0, of the shuffle.

    Raises:
        ValueError: y is not a row of integers, or `test_count` leaves one part empty.
    """
    y = np.asarray(y)
    if y.ndim != 1 or y.dtype.kind not in "iu":
        raise ValueError(f"expected y of shape (N,) and integer type, got {y.shape} {y.dtype}")
    if not 0 < test_count < len(y):
        raise ValueError(
            f"expected a test_count between 1 and {len(y) - 1} of {len(y)} examples, "
            f"got {test_count}"
        )
    _, label, counts = np.unique(y, return_inverse=True, return_counts=True)
    # In whole numbers throughout: a quota is exact, and no rounding decides a remainder.
    quotas, remainders = np.divmod(counts * test_count, len(y))
    largest = np.argsort(-remainders, kind="stable")
    quotas[largest[: test_count - quotas.sum()]] += 1

    # Two draws: if one shuffle both chose and ordered, its front would all go to the test part, and
    # the training part would begin with the few classes whose quota was filled first.
    draws = np.random.PCG64(seed).random_raw(2 * len(y)).reshape(2, len(y))
    choice, order = np.argsort(draws, axis=1, kind="stable")
    in_test = np.zeros(len(y), bool)
    for c, quota in enumerate(quotas):
        in_test[choice[label[choice] == c][:quota]] = True
    return Split(train=order[~in_test[order]], test=order[in_test[order]])


def three_way_split(y: ArrayLike, validation_count: int, test_count: int, seed: int) -> ThreeWay:
    """Positions of a training, a validation and a test part with the class proportions of the whole.

    First the test part is split off, as `stratified_split` does with the same seed, so that it stays what
    it is whatever is done with the rest; then the validation part from what is left, alike.

    Args:
        y: (N,) integer labels.
        validation_count: how many examples are for choosing between networks, ≥ 1.
        test_count: how many are for testing the one that was chosen, ≥ 1.
        seed: ≥ 0, of the shuffles.

    Raises:
        ValueError: y is not a row of integers, or a count leaves a part empty.
    """
    y = np.asarray(y)
    rest, test = stratified_split(y, test_count, seed)
    if not 0 < validation_count < len(rest):
        raise ValueError(
            f"expected a validation_count between 1 and {len(rest) - 1} of the {len(rest)} examples "
            f"that are not for testing, got {validation_count}"
        )
    # A stream of its own, so that the second choice owes nothing to the first: the next bits of that one.
    next_seed = int(np.random.PCG64(seed).random_raw(2 * len(y) + 1)[-1])
    train, validation = stratified_split(y[rest], validation_count, next_seed)
    return ThreeWay(rest[train], rest[validation], test)
