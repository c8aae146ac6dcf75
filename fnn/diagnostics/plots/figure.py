"""What all pictures share: figures without global state, and how they are saved."""

import io
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fnn.diagnostics.plots.colours import GRID, MUTED
from fnn.extras import require

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_DPI = 150


def save(figure: "Figure", path: str | os.PathLike[str]) -> None:
    """Write a figure as a PNG; missing folders are made.

    Raises:
      TypeError: it is no figure.
    """
    drawn = png(figure)
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_bytes(drawn)


def png(figure: "Figure", *, dpi: int = _DPI) -> bytes:
    """A figure as the bytes of a PNG, on white.

    Raises:
      TypeError: it is no figure.
    """
    if not callable(getattr(figure, "savefig", None)):
        raise TypeError(
            "expected a matplotlib Figure, as the functions of fnn.diagnostics.plots give, got "
            f"{type(figure).__name__}"
        )
    file = io.BytesIO()
    figure.savefig(
        file, format="png", dpi=dpi, facecolor="white", bbox_inches="tight", pad_inches=0.12
    )
    return file.getvalue()


def empty_figure(width: float, height: float) -> "Figure":
    """An empty figure, in inches, with a canvas of its own."""
    figure = require("matplotlib.figure", "experiments").Figure(
        figsize=(width, height), layout="constrained"
    )
    require("matplotlib.backends.backend_agg", "experiments").FigureCanvasAgg(figure)
    return figure


def filled(grid: np.ndarray, items: Any) -> "Iterator[tuple[Axes, Any]]":
    """(axes, item) for each item; axes without one are hidden."""
    for axes in grid.flat[len(items) :]:
        axes.set_visible(False)  # not removed: a colour bar still measures itself by all of them
    yield from zip(grid.flat, items, strict=False)


def grid_of(count: int, most: int = 8) -> tuple[int, int]:
    """(rows, columns) of so many panels, `most` beside each other."""
    columns = min(count, most)
    return math.ceil(count / columns), columns


def frame(axes: "Axes") -> None:
    """An image's axes: no ticks, a thin grey frame."""
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set(color="#c9ccd2", linewidth=0.6)


def plain(axes: "Axes") -> None:
    """A curve's axes: a faint grid, no box."""
    axes.margins(x=0.01)
    axes.grid(color=GRID, linewidth=0.8)
    axes.spines[["top", "right"]].set_visible(False)


def colour_bar(figure: "Figure", drawn: Any, axes: Any, label: str = "") -> None:
    """The scale of an image beside it, without a frame."""
    bar = figure.colorbar(drawn, ax=axes, fraction=0.04, pad=0.02, aspect=30)
    bar.outline.set_visible(False)
    bar.ax.tick_params(labelsize=8, length=2)
    if label:
        bar.set_label(label, fontsize=8, color=MUTED)


def logarithmic(axes: "Axes", values: np.ndarray) -> None:
    """A logarithmic scale with plain numbers, if the finite values are positive and span enough."""
    values = values[np.isfinite(values)]
    if not values.size or values.min() <= 0 or values.max() < 5 * values.min():
        return
    ticker = require("matplotlib.ticker", "experiments")
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter(ticker.FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_formatter(ticker.NullFormatter())
