"""A look for what would make a test accuracy too good to be true.

    report = data.leakage(train.x, test.x, train_y=train.y, test_y=test.y)
    print(report)

It looks at what is most often wrong, and proves nothing: a part that it finds clean may still leak.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fnn.data import duplicates
from fnn.data.leakage_checks import balance, fitted_on, label_features

SIMILARITY = 0.99


class Finding(NamedTuple):
    """Something that leaks, or may."""

    kind: str  # "exact duplicates", …
    message: str  # what was found, where, and what to do
    pairs: NDArray[np.int64]  # (M, 2), what it is about: see `leakage`


class Leakage(NamedTuple):
    """What `leakage` found."""

    findings: tuple[Finding, ...]
    looked_at: tuple[str, ...]  # each look, or why it was not taken

    @property
    def clean(self) -> bool:
        """Whether nothing was found."""
        return not self.findings

    def __str__(self) -> str:
        """A line for each finding, or one that says that there is none."""
        lines = [f"{finding.kind}: {finding.message}" for finding in self.findings]
        return "\n".join([*(lines or ["no leak found"]), f"looked at: {'; '.join(self.looked_at)}"])


def leakage(
    train_x: NDArray[Any],
    test_x: NDArray[Any],
    *,
    train_y: ArrayLike | None = None,
    test_y: ArrayLike | None = None,
    fitted: Any = None,
    fit: Callable[[NDArray[Any]], Any] | None = None,
    similarity: float | None = SIMILARITY,
) -> Leakage:
    """Look for leaks between a training and a test part (or a validation part in its place).

    - exact duplicates: test examples that are in the training part, byte for byte (pairs: test, train);
    - near duplicates: test examples whose correlation with a training example is `similarity` or more,
      after subtraction of the mean training image and of each example's own mean (pairs: test, train).
      Of MNIST and of the digits none reaches 0.99. Not looked for with fewer than 32 features;
    - conflicting labels: examples of one part with the same bytes and another label (pairs: two positions
      in the part);
    - label in a feature: a feature with a thousandth of its variance or less within the classes, or
      around a straight line of the labels if these are no integers (pairs: the feature's position in a
      flattened example, and 0). Looked for with three examples a class or more;
    - missing classes, class proportions: a class of the test part that the training part lacks, and
      proportions that differ by 1 % of the examples or more and by more than chance, a chi-square with
      p < 3.2e-5 (pairs: class and 0);
    - preprocessing: a fitted value that `fit` does not make of the training part (no pairs). Whether it
      is what `fit` makes of both parts or of the test part is said. What counts its `examples`, as those
      of `fnn.data.preprocess` do, is also told apart without `fit`.

    Time is that of one matrix product of the two parts; memory is bounded by blocks, but for `fit`,
    which may be given both parts in one array.

    Args:
        train_x: (N, …), before any preprocessing.
        test_x: (M, …), of the same shape and type.
        train_y: (N,) the labels, if there are.
        test_y: (M,).
        fitted: preprocessing that the network will use, such as a `preprocess.Composed`.
        fit: the function of a training part that made it.
        similarity: a correlation in (0, 1]; None to leave out the look for near duplicates.

    Returns:
        What was found, as values and in words.

    Raises:
        ValueError: parts of different shapes or types or without examples, labels of another length, a
            similarity out of range, or a fitted value about which nothing can be said without `fit`.
    """
    train_x, test_x = np.asarray(train_x), np.asarray(test_x)
    labels = _checked(train_x, test_x, train_y, test_y)
    if similarity is not None and not 0 < similarity <= 1:
        raise ValueError(f"expected a similarity in (0, 1], or None, got {similarity}")
    findings: list[Finding] = []
    looked_at = [f"{len(train_x)} training and {len(test_x)} test examples, byte for byte"]
    train_hashes, test_hashes = duplicates.digests(train_x), duplicates.digests(test_x)
    exact = duplicates.common(train_hashes, test_hashes)
    if exact:
        findings.append(_exact(exact, labels))
    if similarity is None:
        looked_at.append("near duplicates: not asked for")
    elif train_x[0].size < duplicates.LEAST_FEATURES:
        looked_at.append(f"near duplicates: not with {train_x[0].size} features")
    else:
        looked_at.append(f"correlations of {similarity:g} or more")
        findings += _near(train_x, test_x, similarity, {test for test, _ in exact})
    if labels is None:
        looked_at.append("labels: none given")
    else:
        looked_at.append("labels")
        parts = (("training", train_x, train_hashes), ("test", test_x, test_hashes))
        for (name, x, hashes), y in zip(parts, labels, strict=True):
            findings += _conflicts(name, hashes, y)
            findings += _label_features(name, x, y)
        findings += [
            Finding(kind, message, _pairs([(c, 0) for c in classes]))
            for kind, message, classes in balance(*labels)
        ]
    if fitted is None:
        looked_at.append("preprocessing: none given")
    else:
        looked_at.append("preprocessing")
        message = fitted_on(fitted, fit, train_x, test_x)
        if message:
            findings.append(Finding("preprocessing", message, _pairs([])))
    return Leakage(tuple(findings), tuple(looked_at))


def _checked(
    train_x: NDArray[Any], test_x: NDArray[Any], train_y: Any, test_y: Any
) -> tuple[NDArray[Any], NDArray[Any]] | None:
    """The labels, once the parts belong together."""
    if train_x.ndim < 2 or train_x.size == 0 or test_x.size == 0:
        raise ValueError(
            "expected examples in both parts, of shape (N, …), "
            f"got {train_x.shape} and {test_x.shape}"
        )
    if train_x.shape[1:] != test_x.shape[1:] or train_x.dtype != test_x.dtype:
        raise ValueError(
            "expected two parts of one kind, "
            f"got {train_x.shape} {train_x.dtype} and {test_x.shape} {test_x.dtype}"
        )
    if train_y is None and test_y is None:
        return None
    if train_y is None or test_y is None:
        raise ValueError("expected the labels of both parts or of none")
    train_y, test_y = np.asarray(train_y), np.asarray(test_y)
    if train_y.shape != (len(train_x),) or test_y.shape != (len(test_x),):
        raise ValueError(
            f"expected labels of shapes ({len(train_x)},) and ({len(test_x)},), "
            f"got {train_y.shape} and {test_y.shape}"
        )
    if train_y.dtype.kind not in "iuf" or test_y.dtype.kind not in "iuf":
        raise ValueError(
            f"expected labels that are numbers, got {train_y.dtype} and {test_y.dtype}"
        )
    return train_y, test_y


def _exact(pairs: list[tuple[int, int]], labels: Any) -> Finding:
    message = f"{_many(len(pairs), 'test example')} found in the training part, {_first(pairs)}"
    if labels is not None:
        other = sum(labels[1][test] != labels[0][train] for test, train in pairs)
        message += f", {other} of them with another label" if other else ""
    return Finding(
        "exact duplicates", message + "; remove them from the training part", _pairs(pairs)
    )


def _near(
    train_x: NDArray[Any], test_x: NDArray[Any], similarity: float, known: set[int]
) -> list[Finding]:
    alike = duplicates.most_alike(train_x, test_x, similarity)
    chosen = [i for i, test in enumerate(alike.test) if int(test) not in known]
    if not chosen:
        return []
    pairs = [(int(alike.test[i]), int(alike.train[i])) for i in chosen]
    message = (
        f"{_many(len(pairs), 'test example')} much like a training example, {_first(pairs)}, with "
        f"correlations of {alike.correlation[chosen[0]]:.4f} to {alike.correlation[chosen[-1]]:.4f}; "
        "look at the pairs, and remove what shows the same thing from the training part"
    )
    return [Finding("near duplicates", message, _pairs(pairs))]


def _conflicts(part: str, hashes: list[bytes], y: NDArray[Any]) -> list[Finding]:
    pairs = [
        (group[0], other)
        for group in duplicates.groups(hashes)
        for other in group[1:]
        if y[other] != y[group[0]]
    ]
    if not pairs:
        return []
    message = (
        f"{_many(len(pairs), 'example')} of the {part} part with the bytes of another one and another "
        f"label, {_first(pairs, part, part)}; correct the labels or remove both"
    )
    return [Finding("conflicting labels", message, _pairs(pairs))]


def _label_features(part: str, x: NDArray[Any], y: NDArray[Any]) -> list[Finding]:
    found = label_features(x, y)
    if not len(found):
        return []
    message = (
        f"{_many(len(found), 'feature')} of the {part} part as good as the label, the first at "
        f"position {found[0]} of a flattened example; remove what is not known before the label is"
    )
    return [Finding("label in a feature", message, _pairs([(int(f), 0) for f in found]))]


def _many(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def _first(pairs: Sequence[tuple[int, int]], one: str = "test", other: str = "training") -> str:
    return f"the first: {one} {pairs[0][0]} and {other} {pairs[0][1]}"


def _pairs(pairs: Sequence[tuple[int, int]]) -> NDArray[np.int64]:
    return np.array(pairs, np.int64).reshape(-1, 2)
