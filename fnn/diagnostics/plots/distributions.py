"""How a distribution moved in training: histograms over time, as a heat map."""

from typing import TYPE_CHECKING

import numpy as np

from fnn.diagnostics.plots.colours import SCALE
from fnn.diagnostics.plots.figure import colour_bar, empty_figure
from fnn.diagnostics.plots.text import shaded, thinned

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_ROWS, _COLUMNS = 24, 48  # of the text twin


def histograms(
    at: np.ndarray,
    counts: np.ndarray,
    edges: np.ndarray,
    *,
    name: str = "value",
    unit: str = "step",
) -> "Figure":
    """A column a time, a row a bin: the lighter, the larger the share of that time's numbers.

    Bins that are empty at all times are left out at both ends. All are drawn equally high, so that bins
    of equal width in the logarithm are as good as others; the axis says their edges.

    Args:
      at: (T,), when the histograms were taken; increasing.
      counts: (T, B), such as the `histogram`s of `fnn.diagnostics.statistics`.
      edges: (B + 1,) of the bins; the outermost may be infinite. For those of `Statistics` it is
        ``[-inf, *EDGES, inf]``.
      name: what was counted.
      unit: what `at` counts.

    Raises:
      ValueError: shapes that do not fit, or no counts at all.
    """
    share, edges = _shares(at, counts, edges)
    figure = empty_figure(6.4, 3.9)
    axes = figure.subplots()
    rows = np.arange(len(edges))
    drawn = axes.pcolormesh(_borders(at), rows, share.T, cmap=SCALE, vmin=0)
    ticks = np.unique(np.linspace(0, len(edges) - 1, min(len(edges), 9)).round().astype(int))
    axes.set_yticks(ticks, [_number(edges[i]) for i in ticks])
    axes.set_xlabel(unit)
    axes.set_ylabel(name)
    colour_bar(figure, drawn, axes, "share of the numbers in a bin")
    return figure


def histograms_text(
    at: np.ndarray,
    counts: np.ndarray,
    edges: np.ndarray,
    *,
    name: str = "value",
    unit: str = "step",
) -> str:
    """The text twin of `histograms`: a character a time and bin, the denser the larger the share."""
    share, edges = _shares(at, counts, edges)
    columns = thinned(share, _COLUMNS)
    together = -(-columns.shape[1] // _ROWS)  # bins of a line
    starts = list(range(0, columns.shape[1], together))
    rows = np.stack([columns[:, i : i + together].sum(axis=1) for i in starts])
    most = float(rows.max())
    ends = [(_number(edges[i]), _number(edges[min(i + together, len(edges) - 1)])) for i in starts]
    width = max(len(text) for pair in ends for text in pair)
    lines = [
        f"{low:>{width}} {high:>{width}} |{shaded(row, low=0.0, high=most)}|"
        for (low, high), row in zip(ends, rows, strict=True)
    ]
    span = f"{unit} {float(at[0]):g} to {float(at[-1]):g}"
    return "\n".join([f"{name} from, to; across: {span}; █ is {most:.0%}", *reversed(lines)])


def _shares(at: np.ndarray, counts: np.ndarray, edges: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(T, K) shares of the bins that are ever filled, and those between them, and (K + 1,) edges."""
    at, counts, edges = (np.asarray(each, np.float64) for each in (at, counts, edges))
    if counts.ndim != 2 or at.shape != counts.shape[:1] or edges.shape != (counts.shape[1] + 1,):
        raise ValueError(
            "histograms: expected at (T,), counts (T, B) and edges (B + 1,), got shapes "
            f"{at.shape}, {counts.shape} and {edges.shape}"
        )
    ever = np.flatnonzero(counts.sum(axis=0))
    if not ever.size:
        raise ValueError("histograms: expected counts above 0, got none")
    first, last = int(ever[0]), int(ever[-1])
    totals = np.maximum(counts.sum(axis=1, keepdims=True), 1)
    return (counts / totals)[:, first : last + 1], edges[first : last + 2]


def _borders(at: np.ndarray) -> np.ndarray:
    """(T + 1,): halfway between the times."""
    at = np.asarray(at, np.float64)
    if len(at) == 1:
        return np.array([at[0] - 0.5, at[0] + 0.5])
    middle = (at[1:] + at[:-1]) / 2
    return np.concatenate([[2 * at[0] - middle[0]], middle, [2 * at[-1] - middle[-1]]])


def _number(edge: float) -> str:
    if np.isinf(edge):
        return "∞" if edge > 0 else "-∞"
    return f"{edge:.3g}"
