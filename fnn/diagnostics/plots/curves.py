"""How a run, or several of them, went on."""

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from fnn.diagnostics.plots.colours import BLUE, LINES, VERMILLION, category
from fnn.diagnostics.plots.figure import empty_figure, logarithmic, plain
from fnn.diagnostics.plots.text import sparkline
from fnn.extras import require
from fnn.tables import table

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_BLOCKS = 40  # of a course, in the text twins
_SPAN = 0.02  # of a curve, over which it is smoothed


class Course(NamedTuple):
    """How a run went on one set of examples.

    Attributes:
      epochs: (n,), how many had been made.
      loss: (n,).
      accuracy: (n,), in [0, 1].
    """

    epochs: np.ndarray
    loss: np.ndarray
    accuracy: np.ndarray


class Band(NamedTuple):
    """Where the runs of several seeds lie, (n,) each.

    Attributes:
      mean: over the seeds.
      low: the lower quantile.
      high: the upper one.
    """

    mean: np.ndarray
    low: np.ndarray
    high: np.ndarray


def curves(training: Course, held_out: Course | None = None, name: str = "test") -> "Figure":
    """Loss (logarithmic) and accuracy: training faint at each step and smoothed, `held_out` as points.

    Args:
      training: one entry a step, of the batch before the step.
      held_out: one entry an epoch, of other examples in the inference pass; may be empty.
      name: what these are called.

    Raises:
      ValueError: there is no training step to draw.
    """
    _check_course(training)
    figure = empty_figure(9.6, 3.7)
    loss, accuracy = figure.subplots(1, 2)
    for axes, quantity in ((loss, "loss"), (accuracy, "accuracy")):
        values = np.asarray(getattr(training, quantity))
        smooth = smoothed(values)
        axes.plot(training.epochs, values, color=BLUE, alpha=0.25, linewidth=0.8)
        axes.plot(training.epochs, smooth, color=BLUE, linewidth=1.8, label="training")
        shown = [smooth[len(smooth) // 10 :]]
        if held_out is not None and len(held_out.epochs):
            points = np.asarray(getattr(held_out, quantity))
            style = {"color": VERMILLION, "linewidth": 1.3, "marker": "o", "markersize": 4}
            axes.plot(held_out.epochs, points, label=name, **style)
            shown.append(points)
        if quantity == "loss":
            logarithmic(axes, np.concatenate([values, *shown]))
        else:
            _percent(axes, np.concatenate(shown))
        axes.set_title(quantity, loc="left")
        axes.set_xlabel("epoch")
        plain(axes)
    loss.legend(frameon=False)
    return figure


def curves_text(training: Course, held_out: Course | None = None, name: str = "test") -> str:
    """The text twin of `curves`: of each curve the first, best and last number, and a line of blocks."""
    _check_course(training)
    named = {
        "training": training._replace(
            loss=smoothed(training.loss), accuracy=smoothed(training.accuracy)
        )
    }
    if held_out is not None and len(held_out.epochs):
        named[name] = held_out
    lines = [
        course_line(f"{who} {quantity}", getattr(course, quantity), largest=quantity != "loss")
        for quantity in ("loss", "accuracy")
        for who, course in named.items()
    ]
    return "\n".join(table(COURSE_HEAD, lines))


COURSE_HEAD = ("curve", "first", "best", "last", "course")


def course_line(name: str, values: np.ndarray, *, largest: bool = False) -> list[str]:
    """A row under `COURSE_HEAD`; the best is the smallest, or the `largest`, of the finite values."""
    values = np.asarray(values, np.float64)
    finite = values[np.isfinite(values)]
    best = (finite.max() if largest else finite.min()) if finite.size else math.nan
    return [
        name,
        *(f"{value:.4g}" for value in (values[0], best, values[-1])),
        sparkline(values, _BLOCKS).ljust(_BLOCKS),
    ]


def band(values: np.ndarray, quantiles: tuple[float, float] = (0.0, 1.0)) -> Band:
    """The mean over seeds, and between which two quantiles of them: (0, 1) for the extremes.

    Args:
      values: (S, n), a row a seed. A seed that is not finite at a point, since its run diverged, makes
        that point of all three NaN, rather than leave the better ones.
      quantiles: 0 <= low < high <= 1.

    Raises:
      ValueError: no seed or no point, another number of axes, or quantiles out of order.
    """
    values = np.asarray(values, np.float64)
    if values.ndim != 2 or 0 in values.shape:
        raise ValueError(f"band: expected values (seeds, points), got shape {values.shape}")
    if not 0 <= quantiles[0] < quantiles[1] <= 1:
        raise ValueError(f"band: expected quantiles 0 <= low < high <= 1, got {quantiles}")
    values = np.where(np.isfinite(values).all(axis=0), values, np.nan)
    low, high = np.quantile(values, quantiles, axis=0)
    return Band(values.mean(axis=0), low, high)


def seeds(
    at: np.ndarray,
    runs: Mapping[str, np.ndarray],
    *,
    quantity: str = "loss",
    unit: str = "epoch",
    quantiles: tuple[float, float] = (0.0, 1.0),
    smooth: bool = False,
) -> "Figure":
    """For each kind of run the mean over its seeds, as a line, and a band between two quantiles of them.

    Args:
      at: (n,), where on the horizontal axis the values are.
      runs: by name, (S, n) each; S may differ.
      quantity: what the values are, for the vertical axis.
      unit: what `at` counts.
      quantiles: see `band`.
      smooth: whether each run is `smoothed` first.

    Raises:
      ValueError: there is no run, or one has another number of points than `at`.
    """
    bands = _bands(at, runs, quantiles, smooth)
    figure = empty_figure(6.4, 3.9)
    axes = figure.subplots()
    for i, (name, found) in enumerate(bands.items()):
        label = f"{name} ({len(runs[name])} seeds)"
        axes.fill_between(at, found.low, found.high, color=category(i), alpha=0.2, linewidth=0)
        style = LINES[i % len(LINES)]
        axes.plot(at, found.mean, color=category(i), linewidth=1.8, linestyle=style, label=label)
    drawn = np.concatenate([np.concatenate(found) for found in bands.values()])
    logarithmic(axes, drawn)
    axes.set_xlabel(unit)
    axes.set_ylabel(quantity)
    axes.set_title(f"mean and {_range(quantiles)} over seeds", loc="left")
    axes.legend(frameon=False)
    plain(axes)
    return figure


def seeds_text(
    at: np.ndarray,
    runs: Mapping[str, np.ndarray],
    *,
    quantity: str = "loss",
    unit: str = "epoch",
    quantiles: tuple[float, float] = (0.0, 1.0),
    smooth: bool = False,
) -> str:
    """The text twin of `seeds`: each kind's mean and band at the last point, and the mean's course."""
    bands = _bands(at, runs, quantiles, smooth)
    last = f"{quantity} at {unit} {float(at[-1]):g}"
    head = ["runs", "seeds", last, "low", "high", "course of the mean"]
    lines = [
        [
            name,
            str(len(runs[name])),
            *(f"{part[-1]:.4g}" for part in found),
            sparkline(found.mean, _BLOCKS).ljust(_BLOCKS),
        ]
        for name, found in bands.items()
    ]
    return "\n".join([*table(head, lines), f"low and high: {_range(quantiles)} over seeds"])


def _bands(
    at: np.ndarray, runs: Mapping[str, np.ndarray], quantiles: tuple[float, float], smooth: bool
) -> dict[str, Band]:
    if not runs:
        raise ValueError("seeds: expected at least one kind of run, got none")
    found = {}
    for name, values in runs.items():
        values = np.asarray(values, np.float64)
        if values.ndim != 2 or values.shape[1:] != np.shape(at):
            raise ValueError(
                f"seeds: expected values (seeds, {len(at)}) of {name!r}, got shape {values.shape}"
            )
        found[name] = band(
            np.stack([smoothed(run) for run in values]) if smooth else values, quantiles
        )
    return found


def _range(quantiles: tuple[float, float]) -> str:
    if quantiles == (0.0, 1.0):
        return "range"
    return f"{100 * quantiles[0]:g} % to {100 * quantiles[1]:g} % quantiles"


def _check_course(training: Course) -> None:
    if len(training.epochs) == 0:
        raise ValueError("expected at least one training step to draw, got none")


def _percent(axes: "Axes", values: np.ndarray) -> None:
    """Up to 100 %, and down to what was seen after the start, which would press the rest into the top."""
    lowest = float(np.min(values, where=np.isfinite(values), initial=1.0))
    low = min(math.floor(20 * lowest) / 20, 0.95)
    axes.set_ylim(low, 1 + (1 - low) / 50)
    axes.yaxis.set_major_formatter(require("matplotlib.ticker", "experiments").PercentFormatter(1))


def smoothed(values: np.ndarray) -> np.ndarray:
    """Means over a centred window of about a fiftieth of all values, shorter at the ends.

    NaN where the window holds a value that is not finite.
    """
    half = max(round(_SPAN * len(values) / 2), 1)
    finite = np.isfinite(values)
    index = np.arange(len(values))
    start, stop = np.maximum(index - half, 0), np.minimum(index + half + 1, len(values))

    def total(of: np.ndarray) -> np.ndarray:
        sums = np.concatenate([[0.0], np.cumsum(of, dtype=np.float64)])
        return sums[stop] - sums[start]

    means = total(np.where(finite, values, 0)) / (stop - start)
    return np.where(total(~finite) > 0, np.nan, means)
