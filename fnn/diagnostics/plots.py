"""Pictures of a training run, as matplotlib figures: nothing is shown, no global state is touched.

    figure = plots.confusion(counts, classes)
    plots.save(figure, "runs/mnist/confusion.png")

All functions take NumPy arrays (`schedules` takes functions of a count) and return a
`matplotlib.figure.Figure` with an Agg canvas of its own, so they work without a display and in any
thread.
"""

import math
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from fnn.extras import require
from fnn.optimizers.hyperparameters import Schedule
from fnn.optimizers.schedules.table import schedule_values

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_BLUE, _ORANGE, _RED = "#2f6db3", "#d9730d", "#b3261e"
_DPI = 150
_SPAN = 0.02  # of a curve, over which it is smoothed


class Course(NamedTuple):
    """How a run went on one set of examples."""

    epochs: np.ndarray  # (n,), how many had been made
    loss: np.ndarray  # (n,)
    accuracy: np.ndarray  # (n,), in [0, 1]


def curves(training: Course, held_out: Course | None = None, name: str = "test") -> "Figure":
    """Loss (logarithmic) and accuracy: training faint at each step and smoothed, `held_out` as points.

    Args:
      training: one entry a step, of the batch before the step.
      held_out: one entry an epoch, of other examples in the inference pass; may be empty.
      name: what these are called.

    Raises:
      ValueError: there is no training step to draw.
    """
    if len(training.epochs) == 0:
        raise ValueError("expected at least one training step to draw, got none")
    figure = _figure(9.6, 3.7)
    loss, accuracy = figure.subplots(1, 2)
    for axes, quantity in ((loss, "loss"), (accuracy, "accuracy")):
        values = np.asarray(getattr(training, quantity))
        smooth = smoothed(values)
        axes.plot(training.epochs, values, color=_BLUE, alpha=0.25, linewidth=0.8)
        axes.plot(training.epochs, smooth, color=_BLUE, linewidth=1.8, label="training")
        shown = [smooth[len(smooth) // 10 :]]
        if held_out is not None and len(held_out.epochs):
            points = np.asarray(getattr(held_out, quantity))
            style = {"color": _ORANGE, "linewidth": 1.3, "marker": "o", "markersize": 4}
            axes.plot(held_out.epochs, points, label=name, **style)
            shown.append(points)
        if quantity == "loss":
            _logarithmic(axes, np.concatenate([values, *shown]))
        else:
            _percent(axes, np.concatenate(shown))
        axes.set_title(quantity, loc="left")
        axes.set_xlabel("epoch")
        axes.margins(x=0.01)
        axes.grid(color="#e4e6ea", linewidth=0.8)
        axes.spines[["top", "right"]].set_visible(False)
    loss.legend(frameon=False)
    return figure


def _logarithmic(axes: "Axes", values: np.ndarray) -> None:
    """A logarithmic scale with plain numbers, if the values are positive and span enough."""
    if values.min() <= 0 or values.max() < 5 * values.min():
        return
    ticker = require("matplotlib.ticker", "experiments")
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter(ticker.FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_formatter(ticker.NullFormatter())


def _percent(axes: "Axes", values: np.ndarray) -> None:
    """Up to 100 %, and down to what was seen after the start, which would press the rest into the top."""
    low = min(math.floor(20 * float(values.min())) / 20, 0.95)
    axes.set_ylim(low, 1 + (1 - low) / 50)
    axes.yaxis.set_major_formatter(require("matplotlib.ticker", "experiments").PercentFormatter(1))


def smoothed(values: np.ndarray) -> np.ndarray:
    """Means over a centred window of about a fiftieth of all values, shorter at the ends."""
    half = max(round(_SPAN * len(values) / 2), 1)
    sums = np.concatenate([[0.0], np.cumsum(values, dtype=np.float64)])
    index = np.arange(len(values))
    start, stop = np.maximum(index - half, 0), np.minimum(index + half + 1, len(values))
    return (sums[stop] - sums[start]) / (stop - start)


def filters(images: np.ndarray, title: str = "", most: int = 64) -> "Figure":
    """A grid of weights as images: 0 is white, positive red, negative blue, one scale for all.

    Args:
      images: (K, H, W); the `most` with the largest norms are shown, the others counted in the title.
      title: what they are.
      most: how many are drawn at the most.

    Raises:
      ValueError: there is none.
    """
    if images.ndim != 3 or len(images) == 0:
        raise ValueError(f"expected at least one filter in images (K, H, W), got {images.shape}")
    count = len(images)
    if count > most:
        norms = np.linalg.norm(images.reshape(count, -1), axis=1)
        images = images[np.sort(np.argsort(-norms, kind="stable")[:most])]
        title = f"{title} ({most} of {count} with the largest norms)".strip()
    columns = 8 if len(images) > 6 else len(images)
    rows = math.ceil(len(images) / columns)
    figure = _figure(max(0.78 * columns + 0.9, 4.0), 0.78 * rows + 0.6)
    grid = figure.subplots(
        rows, columns, squeeze=False, gridspec_kw={"wspace": 0.08, "hspace": 0.08}
    )
    limit = float(np.quantile(np.abs(images), 0.995)) or 1.0  # one outlier must not bleach the rest
    for axes, image in _filled(grid, images):
        drawn = axes.imshow(image, cmap="RdBu_r", vmin=-limit, vmax=limit, interpolation="nearest")
        _frame(axes)
    bar = figure.colorbar(drawn, ax=grid, fraction=0.04, pad=0.02, aspect=30)
    bar.outline.set_visible(False)
    bar.ax.tick_params(labelsize=8, length=2)
    figure.suptitle(title, x=0.01, ha="left")
    return figure


def mistakes(
    images: np.ndarray,
    target: np.ndarray,
    probabilities: np.ndarray,
    classes: Sequence[str],
    most: int = 24,
) -> "Figure":
    """The wrongly classified images to which the right class seemed least likely, worst first.

    Each carries what was said of it, with its probability, and what it is. Without any mistake, the
    figure says so.

    Args:
      images: (N, H, W), drawn in grey levels.
      target: (N,) true classes.
      probabilities: (N, C).
      classes: the names of the C classes.
      most: how many are drawn at the most.
    """
    predicted = probabilities.argmax(axis=1)
    wrong = np.flatnonzero(predicted != target)
    worst = wrong[np.argsort(probabilities[wrong, target[wrong]], kind="stable")][:most]
    count = f"{len(wrong):,}" if len(wrong) else "no"
    found = f"{count} mistake{'' if len(wrong) == 1 else 's'} in {len(target):,} images"
    title = f"the {most} worst of {found}" if len(wrong) > most else found
    columns = min(max(len(worst), 5), 8)
    rows = max(math.ceil(len(worst) / columns), 1)
    figure = _figure(1.22 * columns, 1.6 * rows + 0.5)
    figure.suptitle(f"{title}\n", x=0.01, ha="left")
    if len(worst) == 0:
        return figure
    key = "red: what the network said, and how sure it was"
    figure.text(0.012, 1 - 0.36 / figure.get_figheight(), key, fontsize=9, color=_RED, va="top")
    for axes, n in _filled(figure.subplots(rows, columns, squeeze=False), worst):
        axes.imshow(images[n], cmap="gray", vmin=images.min(), vmax=images.max())
        said = f"{classes[predicted[n]]}  {probabilities[n, predicted[n]]:.0%}"
        axes.set_title(said, color=_RED, fontsize=9, pad=3)
        axes.set_xlabel(f"is {classes[target[n]]}", fontsize=9, labelpad=2)
        _frame(axes)
    return figure


def confusion(counts: np.ndarray, classes: Sequence[str]) -> "Figure":
    """The confusion matrix with its counts; mistakes are shaded by their share of the true class.

    Args:
      counts: (C, C), row = true class, column = predicted class.
      classes: the names of the C classes.
    """
    size = len(classes)
    figure = _figure(0.5 * size + 1.7, 0.5 * size + 1.3)
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
            axes.text(column, row, f"{count}", color=colour, **style)
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
    axes.set_title(f"{int(np.trace(counts)):,} of {int(counts.sum()):,} right", loc="left")
    return figure


def schedules(schedules: Mapping[str, Schedule | float], steps: int) -> "Figure":
    """Each schedule over its first `steps` counts and the one after: a panel each, on one axis of counts.

    The first and the last step's value and the largest are marked, with their numbers above; see
    `fnn.optimizers.schedules.table` for what a count is.

    Raises:
      ValueError: there is no schedule, no step, or a schedule does not give one number for one count.
    """
    if not schedules or steps < 1:
        raise ValueError(f"expected a schedule and a step at least, got {len(schedules)}, {steps}")
    counts = np.unique(np.linspace(0, steps, 2001).round().astype(np.int64))
    figure = _figure(8.0, 0.5 + 2.1 * len(schedules))
    panels = figure.subplots(len(schedules), 1, squeeze=False, sharex=True)[:, 0]
    for axes, (name, schedule) in zip(panels, schedules.items(), strict=True):
        values = schedule_values(name, schedule, counts)
        axes.plot(counts, values, color=_BLUE, linewidth=1.6)
        last = int(np.searchsorted(counts, steps - 1))
        marked = sorted({0, int(values[: last + 1].argmax()), last})
        axes.plot(
            counts[marked], values[marked], color=_ORANGE, linewidth=0, marker="o", markersize=5
        )
        said = ",  ".join(f"{values[i]:.4g} at {counts[i]}" for i in marked)
        axes.set_title(name, loc="left")
        axes.set_title(said, loc="right", fontsize=9, color="#6b7280")
        axes.margins(x=0.01)
        axes.grid(color="#e4e6ea", linewidth=0.8)
        axes.spines[["top", "right"]].set_visible(False)
    panels[-1].set_xlabel("steps already made")
    return figure


def save(figure: "Figure", path: str | os.PathLike[str]) -> None:
    """Write a figure as a PNG; missing folders are made."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=_DPI, facecolor="white", bbox_inches="tight", pad_inches=0.12)


def _figure(width: float, height: float) -> "Figure":
    """An empty figure, in inches, with a canvas of its own."""
    figure = require("matplotlib.figure", "experiments").Figure(
        figsize=(width, height), layout="constrained"
    )
    require("matplotlib.backends.backend_agg", "experiments").FigureCanvasAgg(figure)
    return figure


def _filled(grid: np.ndarray, items: np.ndarray) -> "Iterator[tuple[Axes, Any]]":
    """(axes, item) for each item; axes without one are hidden."""
    for axes in grid.flat[len(items) :]:
        axes.set_visible(False)  # not removed: a colour bar still measures itself by all of them
    yield from zip(grid.flat, items, strict=False)


def _frame(axes: "Axes") -> None:
    """An image's axes: no ticks, a thin grey frame."""
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set(color="#c9ccd2", linewidth=0.6)
