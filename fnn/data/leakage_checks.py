"""What a leak looks like in numbers: features that know the label, uneven parts, fits on too much."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fnn.data.preprocess.composed import Composed
from fnn.data.preprocess.contrast import GlobalContrast
from fnn.data.preprocess.fitted import blocks, mean_of, rows, variance_of
from fnn.tree import paths

_WITHIN = 1e-3  # of a feature's variance, within the classes: below, the feature is the label
_SHIFT = 0.01  # of the examples, by which class proportions may differ
_DEVIATIONS = 4.0  # of the standard normal: p < 3.2e-5
_SAME = 1e-5  # relative distance of two fits on the same examples


def label_features(x: NDArray[Any], y: NDArray[Any]) -> NDArray[np.int64]:
    """The features (positions in a flattened example) that are as good as the label.

    Those of whose variance, adjusted for the degrees of freedom, a thousandth or less is left when the
    label is known: within the classes if it is an integer, around a straight line if not. So the label
    itself is found, under any one-to-one code, a code of some classes only, and each with a little noise.
    None with fewer than three examples a class.
    """
    classes = np.unique(y) if y.dtype.kind in "iu" else np.zeros(0)
    known = max(len(classes) - 1, 0) if y.dtype.kind in "iu" else int(np.ptp(y) > 0)
    if known < 1 or len(y) < 3 * (known + 1):
        return np.zeros(0, np.int64)
    flat = rows(x, x.ndim - 1)
    mean = mean_of(flat)
    total = variance_of(flat, mean) * len(flat)
    # The explained variance is that of the projection on the directions that the labels span.
    products, lengths, start = np.zeros((max(len(classes), 1), len(mean))), 0.0, 0
    middle = y.mean(dtype=np.float64)
    for block in blocks(flat):
        labels = y[start : start + len(block), None]
        span = (labels == classes if len(classes) else labels - middle).astype(np.float64)
        products += span.T @ (block - mean)
        lengths = lengths + np.square(span).sum(axis=0)[:, None]
        start += len(block)
    left = (total - (np.square(products) / lengths).sum(axis=0)) / (len(flat) - 1 - known)
    return np.flatnonzero((total > 0) & (left <= _WITHIN * total / (len(flat) - 1)))


def balance(train_y: NDArray[Any], test_y: NDArray[Any]) -> list[tuple[str, str, list[int]]]:
    """(kind, message, classes) of each fault in how the classes are spread over the parts."""
    if train_y.dtype.kind not in "iu" or test_y.dtype.kind not in "iu":
        return []
    classes, label = np.unique(np.concatenate([train_y, test_y]), return_inverse=True)
    counts = np.stack(
        [np.bincount(part, minlength=len(classes)) for part in np.split(label, [len(train_y)])]
    )
    found = []
    missing = classes[(counts[0] == 0) & (counts[1] > 0)].tolist()
    if missing:
        message = (
            f"the training part has no example of {_listed(missing)}, which the test part has; split "
            "again with stratified_split"
        )
        found.append(("missing classes", message, missing))
    shares = counts / counts.sum(axis=1, keepdims=True)
    shift = np.abs(shares[1] - shares[0])
    if shift.sum() / 2 >= _SHIFT and _deviations(counts) > _DEVIATIONS:
        worst = int(shift.argmax())
        message = (
            f"the parts differ by {shift.sum() / 2:.1%} of the examples, most in class "
            f"{classes[worst]} ({shares[0, worst]:.1%} of the training part, {shares[1, worst]:.1%} of "
            "the test part); split again with stratified_split, or weight the classes"
        )
        found.append(("class proportions", message, [int(classes[worst])]))
    return found


def _deviations(counts: NDArray[np.int64]) -> float:
    """The chi-square of homogeneity as a standard normal (E. Wilson, M. Hilferty, 1931)."""
    expected = counts.sum(axis=1, keepdims=True) * counts.sum(axis=0) / counts.sum()
    chi_square = (np.square(counts - expected) / expected).sum()
    freedom = counts.shape[1] - 1
    if freedom == 0:
        return 0.0
    spread = 2 / (9 * freedom)
    return float(((chi_square / freedom) ** (1 / 3) - (1 - spread)) / spread**0.5)


def _listed(classes: list[int]) -> str:
    shown = ", ".join(map(str, classes[:5]))
    return f"class{'es' if len(classes) > 1 else ''} {shown}{' …' if len(classes) > 5 else ''}"


def fitted_on(
    fitted: Any,
    fit: Callable[[NDArray[Any]], Any] | None,
    train_x: NDArray[Any],
    test_x: NDArray[Any],
) -> str:
    """What is wrong with a fitted value, or nothing.

    Raises:
        ValueError: there is no `fit`, and the value does not count its examples.
    """
    if fit is None:
        seen = _examples_of(fitted)
        wrong = [count for count in seen if count != len(train_x)]
        if not wrong:
            return ""
        both = " (as many as both parts have)" if wrong[0] == len(train_x) + len(test_x) else ""
        return (
            f"fitted on {wrong[0]:,} examples{both}, and not on the {len(train_x):,} of the training "
            "part; fit it again, on these alone"
        )
    distance = _distance(fitted, fit(train_x))
    if distance == 0:
        return ""
    others = {
        "both parts": _distance(fitted, fit(np.concatenate([train_x, test_x]))),
        "the test part": _distance(fitted, fit(test_x)),
    }
    nearest = min(others, key=lambda name: others[name])
    if distance <= _SAME and distance <= others[nearest]:
        return ""
    if others[nearest] <= _SAME:
        return f"fitted on {nearest}; fit it again, on the training part alone"
    return (
        f"fitted on something else: its relative distance is {distance:.1e} from a fit on the training "
        f"part, {others['both parts']:.1e} from one on both; fit it again, on the training part alone"
    )


def _examples_of(fitted: Any) -> list[int]:
    """How many examples each step of a fitted value says it saw.

    Raises:
        ValueError: a step does not say it.
    """
    if isinstance(fitted, Composed):
        return [count for step in fitted.steps for count in _examples_of(step)]
    if isinstance(fitted, GlobalContrast):
        return []
    if not hasattr(fitted, "examples"):
        raise ValueError(
            "expected the function that made the fitted value, as `fit`: "
            f"{type(fitted).__name__} does not say how many examples it has seen"
        )
    return [int(fitted.examples)]


def _distance(one: Any, other: Any) -> float:
    """The largest relative distance of two leaves; infinite where they do not match."""
    ours, theirs = dict(paths(one)), dict(paths(other))
    if {path: np.shape(a) for path, a in ours.items()} != {
        path: np.shape(a) for path, a in theirs.items()
    }:
        return np.inf
    worst = 0.0
    for path in ours:
        a, b = np.asarray(ours[path], np.float64), np.asarray(theirs[path], np.float64)
        scale = max(float(np.linalg.norm(a)), float(np.linalg.norm(b)))
        worst = max(worst, float(np.linalg.norm(a - b)) / scale if scale else 0.0)
    return worst
