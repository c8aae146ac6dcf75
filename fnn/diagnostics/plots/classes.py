"""What a classifier takes for what, and how far its confidence can be believed."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from fnn.diagnostics.plots.colours import BLUE, MUTED, VERMILLION
from fnn.diagnostics.plots.figure import empty_figure, plain
from fnn.diagnostics.plots.text import bar, named
from fnn.tables import table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_NAMED = 8  # confusions that the text names


def confusion(counts: np.ndarray, classes: Sequence[object]) -> "Figure":
    """The confusion matrix with its counts; mistakes are shaded by their share of the true class.

    Args:
      counts: (C, C), row = true class, column = predicted class.
      classes: the names of the C classes.

    Raises:
      ValueError: shapes that do not fit.
    """
    counts, classes = _confusion(counts, classes)
    size = len(classes)
    figure = empty_figure(0.5 * size + 1.7, 0.5 * size + 1.3)
    axes = figure.subplots()
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    wrong = share * (1 - np.eye(size))
    # The diagonal is left pale: what is to be seen are the confusions, however rare.
    most = max(float(wrong.max()), 1e-9)
    axes.imshow(wrong, cmap="Oranges", vmin=0, vmax=1.3 * most)
    for row, column in np.ndindex(*counts.shape):
        if count := counts[row, column]:
            weight = "bold" if row == column else "normal"
            colour = "white" if wrong[row, column] > 0.85 * most else "black"
            style: dict[str, Any] = {
                "ha": "center",
                "va": "center",
                "fontsize": 9,
                "fontweight": weight,
            }
            axes.text(column, row, f"{count:.10g}", color=colour, **style)
    for edge in range(1, size):
        axes.axhline(edge - 0.5, color="white", linewidth=1)
        axes.axvline(edge - 0.5, color="white", linewidth=1)
    long = max(map(len, classes)) > 3
    turned: dict[str, Any] = (
        {"rotation": 40, "ha": "right", "rotation_mode": "anchor"} if long else {}
    )
    axes.set_xticks(range(size), classes, **turned)
    axes.set_yticks(range(size), classes)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.set_title(_right(counts), loc="left")
    return figure


def confusion_text(counts: np.ndarray, classes: Sequence[object]) -> str:
    """The text twin of `confusion`: the counts, and the most frequent confusions in words."""
    counts, classes = _confusion(counts, classes)
    lines = [
        [name, *(f"{count:.10g}" if count else "·" for count in row)]
        for name, row in zip(classes, counts, strict=True)
    ]
    wrong = np.where(np.eye(len(classes), dtype=bool), 0, counts)
    order = np.argsort(-wrong, axis=None, kind="stable")[:_NAMED]
    said = [
        f"  {classes[i]} taken for {classes[j]}: {wrong[i, j]:.10g} of {counts[i].sum():.10g}"
        for i, j in zip(*np.unravel_index(order, wrong.shape), strict=True)
        if wrong[i, j]
    ]
    drawn = table(["true \\ predicted", *classes], lines)
    return "\n".join(
        [_right(counts), *drawn, *(["most frequent confusions:", *said] if said else [])]
    )


def _confusion(counts: np.ndarray, classes: Sequence[object]) -> tuple[np.ndarray, list[str]]:
    counts, names = np.asarray(counts), named(classes)
    if counts.shape != (len(names), len(names)) or not names:
        raise ValueError(
            f"confusion: expected counts (C, C) and the names of C classes, got counts {counts.shape} "
            f"and {len(names)} names"
        )
    return counts, names


def _right(counts: np.ndarray) -> str:
    return f"{int(np.trace(counts)):,} of {int(counts.sum()):,} right"


def reliability(
    confidence: np.ndarray, accuracy: np.ndarray, examples: np.ndarray, title: str = ""
) -> "Figure":
    """How often it is right, against how sure it said it was: on the diagonal, its word can be taken.

        found = evaluation.reductions["calibration"]
        plots.reliability(found.confidence, found.accuracy, found.examples)

    Below it, how many examples each bin holds. Source: DeGroot, Fienberg (1983); Guo et al. (2017).

    Args:
      confidence: (M,), the mean confidence of each bin; NaN where it is empty.
      accuracy: (M,), in [0, 1].
      examples: (M,), how many the bin holds, by weight.
      title: what was asked.

    Raises:
      ValueError: shapes that differ, or bins that are all empty.
    """
    confidence, accuracy, examples, error = _calibration(confidence, accuracy, examples)
    figure = empty_figure(4.6, 5.2)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    upper.plot([0, 1], [0, 1], color=MUTED, linewidth=1, linestyle="--", label="as sure as right")
    upper.vlines(confidence, confidence, accuracy, color=VERMILLION, linewidth=2.5, label="gap")
    upper.plot(confidence, accuracy, color=BLUE, marker="o", markersize=5, linewidth=1.4)
    upper.set_ylabel("share that is right")
    upper.set_ylim(-0.02, 1.02)
    upper.legend(frameon=False, loc="upper left")
    said = f"expected calibration error {error:.1%}"
    upper.set_title(f"{title}: {said}" if title else said, loc="left")
    lower.bar(confidence, examples, width=0.8 / max(len(examples), 10), color=BLUE)
    lower.set_ylabel("examples")
    lower.set_xlabel("confidence: the largest probability")
    lower.set_xlim(-0.02, 1.02)
    for axes in (upper, lower):
        plain(axes)
    return figure


def reliability_text(
    confidence: np.ndarray, accuracy: np.ndarray, examples: np.ndarray, title: str = ""
) -> str:
    """The text twin of `reliability`: a row a bin that holds examples."""
    confidence, accuracy, examples, error = _calibration(confidence, accuracy, examples)
    lines = [
        [f"{c:.1%}", f"{a:.1%}", f"{100 * (a - c):+.1f}", f"{n:g}", bar(n / examples.max(), 20)]
        for c, a, n in zip(confidence, accuracy, examples, strict=True)
    ]
    drawn = table(["confidence", "right", "gap, points", "examples", ""], lines, left=0)
    said = f"expected calibration error {error:.1%}"
    return "\n".join([f"{title}: {said}" if title else said, *drawn])


def _calibration(*given: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
    """The bins that hold examples, and Σ n |accuracy - confidence| / Σ n."""
    confidence, accuracy, examples = (np.asarray(each, np.float64) for each in given)
    if confidence.ndim != 1 or not confidence.shape == accuracy.shape == examples.shape:
        shapes = ", ".join(str(each.shape) for each in (confidence, accuracy, examples))
        raise ValueError(f"reliability: expected three arrays (M,), got shapes {shapes}")
    held = examples > 0
    if not held.any():
        raise ValueError("reliability: expected examples in at least one bin, got none")
    confidence, accuracy, examples = confidence[held], accuracy[held], examples[held]
    gap = np.abs(accuracy - confidence)
    return confidence, accuracy, examples, float((gap * examples).sum() / examples.sum())
