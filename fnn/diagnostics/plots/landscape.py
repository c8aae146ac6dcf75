"""The loss around a point of the space of parameters: on a line, and on a plane.

The numbers come from `fnn.diagnostics.loss_slice`, whose `LossLine` and `LossPlane` are the text twins:
``str()`` of them is a table with bars, and a map.
"""

from typing import TYPE_CHECKING, Any

import numpy as np

from fnn.diagnostics.plots.colours import BLUE, SCALE, VERMILLION
from fnn.diagnostics.plots.figure import colour_bar, empty_figure, logarithmic, plain

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def loss_line(
    distances: np.ndarray, losses: np.ndarray, *, direction: str = "direction"
) -> "Figure":
    """The loss at points of a line; what is not finite is left out.

    Args:
      distances: (A,).
      losses: (A,).
      direction: what the line follows, such as "first eigenvector".

    Raises:
      ValueError: shapes that differ, or no loss that is finite.
    """
    distances, losses = np.asarray(distances, np.float64), np.asarray(losses, np.float64)
    finite = np.isfinite(losses)
    if distances.ndim != 1 or distances.shape != losses.shape or not finite.any():
        raise ValueError(
            "loss_line: expected distances (A,) and losses (A,), some finite, got shapes "
            f"{distances.shape} and {losses.shape} with {int(finite.sum())} finite"
        )
    figure = empty_figure(5.6, 3.6)
    axes = figure.subplots()
    shown = np.where(finite, losses, np.nan)
    axes.plot(distances, shown, color=BLUE, marker="o", markersize=3)
    lowest = int(np.nanargmin(shown))
    style: dict[str, Any] = {"color": VERMILLION, "marker": "D", "markersize": 7, "linewidth": 0}
    axes.plot(distances[[lowest]], losses[[lowest]], label="lowest", **style)
    logarithmic(axes, losses)
    axes.set_xlabel(f"distance along the {direction}")
    axes.set_ylabel("mean loss")
    axes.legend(frameon=False)
    plain(axes)
    return figure


def loss_plane(
    a: np.ndarray,
    b: np.ndarray,
    losses: np.ndarray,
    *,
    path: np.ndarray | None = None,
    directions: tuple[str, str] = ("first direction", "second direction"),
) -> "Figure":
    """The loss on a grid, dark where it is low, with lines of equal loss; logarithmic if it spans enough.

    Args:
      a: (A,), along the first direction.
      b: (B,), along the second.
      losses: (A, B); what is not finite is left white.
      path: (T, 2), where a run came along, such as `PathPlane.coordinates`.
      directions: what they are.

    Raises:
      ValueError: shapes that do not fit, or no loss that is finite.
    """
    a, b, losses = (np.asarray(each, np.float64) for each in (a, b, losses))
    finite = losses[np.isfinite(losses)]
    if losses.shape != (len(a), len(b)) or min(losses.shape) < 2 or not finite.size:
        raise ValueError(
            "loss_plane: expected a (A,), b (B,) and losses (A, B) of two points each way or more, some "
            f"finite, got shapes {a.shape}, {b.shape}, {losses.shape} with {finite.size} finite"
        )
    if path is not None and (np.ndim(path) != 2 or np.shape(path)[1] != 2):
        raise ValueError(f"loss_plane: expected a path (T, 2), got shape {np.shape(path)}")
    figure = empty_figure(5.6, 4.6)
    axes = figure.subplots()
    low, high = float(finite.min()), float(finite.max())
    steep = low > 0 and high >= 10 * low
    levels: Any = np.geomspace(low, high, 16) if steep else np.linspace(low, high, 16)
    shown = np.ma.masked_invalid(losses).T
    drawn = axes.pcolormesh(
        a, b, shown, cmap=SCALE, norm="log" if steep else "linear", shading="nearest"
    )
    if high > low:
        axes.contour(a, b, shown, levels=levels[1:-1], colors="white", linewidths=0.6, alpha=0.7)
    if path is not None:
        style: dict[str, Any] = {"color": "white", "marker": "o", "markersize": 3, "linewidth": 1.2}
        axes.plot(path[:, 0], path[:, 1], **style)
        axes.plot(path[-1:, 0], path[-1:, 1], **{**style, "marker": "X", "markersize": 9})
    axes.set_xlabel(directions[0])
    axes.set_ylabel(directions[1])
    colour_bar(figure, drawn, axes, "mean loss")
    return figure
