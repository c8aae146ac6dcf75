"""Networks of two inputs: how they divide the plane, and how a hidden layer moves its points."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from fnn.diagnostics.plots.colours import LETTERS, TEXT, category, mark
from fnn.diagnostics.plots.figure import empty_figure
from fnn.diagnostics.plots.text import named
from fnn.extras import require
from fnn.tables import table

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_COLUMNS, _ROWS = 56, 24  # of the text twin


class Line(NamedTuple):
    """{h: w · h + b = 0} in a hidden space of two units; of two logits, w = w₁ - w₀ and b = b₁ - b₀.

    Attributes:
      w: (2,).
      b: what is added to w · h.
    """

    w: np.ndarray
    b: float


def decision_boundary(
    predict: Callable[[np.ndarray], Any],
    x: np.ndarray,
    labels: np.ndarray,
    classes: Sequence[object],
    *,
    resolution: int = 200,
    margin: float = 0.15,
) -> "Figure":
    """What the network says in the plane around its examples, and the examples; wrong ones are ringed.

    Args:
      predict: points (M, 2) float32 -> scores (M, C), or (M,) or (M, 1) of which above 0 is class 1.
      x: (N, 2).
      labels: (N,) classes.
      classes: the names of the C classes.
      resolution: points of the grid along each side.
      margin: how far it goes beyond the examples, as a share of their extent.

    Raises:
      ValueError: shapes that do not fit, or a label that is no class.
    """
    first, second, said = _grid(predict, x, labels, classes, (resolution, resolution), margin)
    colours = require("matplotlib.colors", "experiments")
    figure = empty_figure(5.2, 4.6)
    axes = figure.subplots()
    pale = colours.ListedColormap([_pale(category(i)) for i in range(len(classes))])
    levels = np.arange(len(classes) + 1) - 0.5
    axes.pcolormesh(first, second, said, cmap=pale, vmin=levels[0], vmax=levels[-1])
    for i in range(len(classes) - 1):
        axes.contour(first, second, said, levels=[i + 0.5], colors=[TEXT], linewidths=0.8)
    _points(axes, x, labels, classes)
    wrong = _classes(predict(np.asarray(x, np.float32)), classes, len(x)) != labels
    if wrong.any():
        style: dict[str, Any] = {"facecolors": "none", "edgecolors": TEXT, "linewidths": 1.2}
        axes.scatter(x[wrong, 0], x[wrong, 1], s=110, label="wrong", **style)
    axes.set_xlabel("x₁")
    axes.set_ylabel("x₂")
    axes.set_title(_said(wrong), loc="left")
    _legend(axes)
    return figure


def decision_boundary_text(
    predict: Callable[[np.ndarray], Any],
    x: np.ndarray,
    labels: np.ndarray,
    classes: Sequence[object],
    *,
    margin: float = 0.15,
) -> str:
    """The text twin of `decision_boundary`: small letters are what is said, capitals the examples."""
    first, second, said = _grid(predict, x, labels, classes, (_COLUMNS, _ROWS), margin)
    cells = [[LETTERS[i % len(LETTERS)].lower() for i in row] for row in said]
    for point, label in zip(x, labels, strict=True):
        column = int(np.abs(first - point[0]).argmin())
        row = int(np.abs(second - point[1]).argmin())
        cells[row][column] = LETTERS[label % len(LETTERS)]
    wrong = _classes(predict(np.asarray(x, np.float32)), classes, len(x)) != labels
    names = ", ".join(f"{LETTERS[i % len(LETTERS)]} {name}" for i, name in enumerate(classes))
    span = (
        f"x₁ from {first[0]:.3g} to {first[-1]:.3g} across, x₂ from {second[0]:.3g} at the bottom to "
        f"{second[-1]:.3g}"
    )
    return "\n".join([_said(wrong), *("".join(row) for row in reversed(cells)), names, span])


def hidden_space(
    x: np.ndarray,
    hidden: np.ndarray,
    labels: np.ndarray,
    classes: Sequence[object],
    *,
    line: Line | None = None,
    names: Sequence[str] | None = None,
) -> "Figure":
    """Where the points are in the input space, and where a hidden layer moves them.

    Four points of "exclusive or" cannot be divided by a line where they come from, and can where they
    go to. Of more than two hidden units the two principal components are shown.

    Args:
      x: (N, 2).
      hidden: (N, H), such as the activation's ``passages(...)["act"].y``.
      labels: (N,) classes.
      classes: the names of the C classes.
      line: what divides the hidden space of two units.
      names: N, written at the points; None for letters, if there are 26 points at most.

    Raises:
      ValueError: shapes that do not fit, a label that is no class, or a line where there are not two
        hidden units.
    """
    placed, axis_names, names = _moved(x, hidden, labels, classes, line, names)
    figure = empty_figure(8.4, 4.2)
    left, right = figure.subplots(1, 2)
    left.set(title="input space", xlabel="x₁", ylabel="x₂")
    right.set(title="hidden space", xlabel=axis_names[0], ylabel=axis_names[1])
    for axes, points in ((left, x), (right, placed)):
        _points(axes, points, labels, classes)
        for text, at in _together(points, names):
            axes.annotate(text, at, xytext=(6, 6), textcoords="offset points", fontsize=10)
        axes.margins(0.2)
    if line is not None:
        limits = right.get_xlim(), right.get_ylim()
        ends = _segment(line, *limits)
        right.plot(*ends, color=TEXT, linewidth=1.4, linestyle="--", label="w · h + b = 0")
        right.set(xlim=limits[0], ylim=limits[1])
    _legend(right)
    return figure


def hidden_space_text(
    x: np.ndarray,
    hidden: np.ndarray,
    labels: np.ndarray,
    classes: Sequence[object],
    *,
    line: Line | None = None,
    names: Sequence[str] | None = None,
) -> str:
    """The text twin of `hidden_space`: each point before and after, and on which side of the line."""
    placed, axis_names, names = _moved(x, hidden, labels, classes, line, names)
    head = ["point", "class", "input space", f"hidden space ({', '.join(axis_names)})"]
    head += [] if line is None else ["w · h + b"]
    lines, kinds = [], named(classes)
    for i in range(len(x)):
        cells = [names[i] or str(i), kinds[labels[i]], _pair(x[i]), _pair(placed[i])]
        lines.append(cells + ([] if line is None else [f"{_side(line, placed[i]):+.3g}"]))
    drawn = table(head, lines, left=2)
    if line is None:
        return "\n".join(drawn)
    sides = [
        {bool(_side(line, placed[i]) > 0) for i in np.flatnonzero(labels == c)} for c in set(labels)
    ]
    divided = all(len(side) == 1 for side in sides) and len(set.union(*sides)) == len(sides)
    return "\n".join([*drawn, f"the line divides the classes: {'yes' if divided else 'no'}"])


def _grid(
    predict: Callable[[np.ndarray], Any],
    x: np.ndarray,
    labels: np.ndarray,
    classes: Sequence[object],
    size: tuple[int, int],
    margin: float,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(columns,), (rows,) coordinates and (rows, columns) classes."""
    _check_points(x, labels, classes)
    low, high = x.min(axis=0), x.max(axis=0)
    room = margin * np.where(high > low, high - low, 1)
    first, second = (
        np.linspace(low[i] - room[i], high[i] + room[i], size[i], dtype=np.float32) for i in (0, 1)
    )
    points = np.stack(np.meshgrid(first, second), axis=-1).reshape(-1, 2)
    said = _classes(predict(points), classes, len(points))
    return first, second, said.reshape(len(second), len(first))


def _classes(scores: Any, classes: Sequence[object], count: int) -> np.ndarray:
    scores = np.asarray(scores)
    if scores.shape in {(count,), (count, 1)} and len(classes) == 2:
        return (scores.reshape(count) > 0).astype(np.int64)
    if scores.shape != (count, len(classes)):
        raise ValueError(
            f"decision_boundary: expected scores ({count}, {len(classes)}) from predict, or one a "
            f"point of two classes, got shape {scores.shape}"
        )
    return scores.argmax(axis=1)


def _check_points(x: np.ndarray, labels: np.ndarray, classes: Sequence[object]) -> None:
    if np.ndim(x) != 2 or x.shape[1] != 2 or len(x) == 0 or np.shape(labels) != (len(x),):
        raise ValueError(
            f"expected points (N, 2) and labels (N,), got shapes {np.shape(x)} and {np.shape(labels)}"
        )
    if labels.min() < 0 or labels.max() >= len(classes):
        raise ValueError(
            f"expected labels in [0, {len(classes)}), got {labels.min()} to {labels.max()}"
        )


def _moved(
    x: np.ndarray,
    hidden: np.ndarray,
    labels: np.ndarray,
    classes: Sequence[object],
    line: Line | None,
    names: Sequence[str] | None,
) -> tuple[np.ndarray, tuple[str, str], Sequence[str]]:
    """(N, 2) places, what the axes are, and the names of the points."""
    _check_points(x, labels, classes)
    hidden = np.asarray(hidden, np.float64)
    if hidden.ndim != 2 or len(hidden) != len(x) or hidden.shape[1] < 2:
        raise ValueError(f"expected hidden ({len(x)}, H) of two units or more, got {hidden.shape}")
    if line is not None and hidden.shape[1] != 2:
        raise ValueError(f"expected a line for two hidden units only, got {hidden.shape[1]} units")
    if names is None:
        names = list(LETTERS[: len(x)]) if len(x) <= len(LETTERS) else [""] * len(x)
    if hidden.shape[1] == 2:
        return hidden, ("h₁", "h₂"), names
    centred = hidden - hidden.mean(axis=0)
    left, sizes, _ = np.linalg.svd(centred, full_matrices=False)
    share = np.square(sizes) / max(float(np.square(sizes).sum()), np.finfo(float).tiny)
    said = (f"component 1, {share[0]:.0%} of variance", f"component 2, {share[1]:.0%} of variance")
    return left[:, :2] * sizes[:2], said, names


def _points(axes: "Axes", x: np.ndarray, labels: np.ndarray, classes: Sequence[object]) -> None:
    """Each class in a colour and with a mark of its own."""
    for i, name in enumerate(classes):
        own = x[labels == i]
        style: dict[str, Any] = {
            "color": category(i),
            "marker": mark(i),
            "edgecolors": "white",
            "linewidths": 0.7,
        }
        axes.scatter(own[:, 0], own[:, 1], s=46, label=name, zorder=3, **style)


def _legend(axes: "Axes") -> None:
    """Beside the panel, where it hides no point."""
    axes.legend(frameon=False, fontsize=9, loc="upper left", bbox_to_anchor=(1.01, 1))


def _together(points: np.ndarray, names: Sequence[str]) -> list[tuple[str, np.ndarray]]:
    """Names of points that fall together, as one text."""
    found: dict[tuple[float, float], list[str]] = {}
    for point, name in zip(np.round(points, 6) + 0.0, names, strict=True):
        found.setdefault((float(point[0]), float(point[1])), []).append(name)
    return [(", ".join(filter(None, said)), np.array(at)) for at, said in found.items()]


def _segment(
    line: Line, across: tuple[float, float], up: tuple[float, float]
) -> tuple[np.ndarray, np.ndarray]:
    """Two points of the line, far enough apart to cross the panel."""
    w = np.asarray(line.w, np.float64)
    middle = np.array([np.mean(across), np.mean(up)])
    foot = middle - w * (middle @ w + line.b) / (w @ w)
    along = np.array([-w[1], w[0]]) / np.linalg.norm(w)
    reach = np.hypot(across[1] - across[0], up[1] - up[0])
    ends = np.stack([foot - reach * along, foot + reach * along])
    return ends[:, 0], ends[:, 1]


def _side(line: Line, point: np.ndarray) -> float:
    return float(np.asarray(line.w, np.float64) @ point + line.b)


def _pale(colour: str, share: float = 0.3) -> tuple[float, ...]:
    """The colour mixed with white."""
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    return tuple(1 - share * (1 - channel) for channel in channels)


def _pair(point: np.ndarray) -> str:
    return f"({float(point[0]):.3g}, {float(point[1]):.3g})"


def _said(wrong: np.ndarray) -> str:
    return f"{int((~wrong).sum()):,} of {len(wrong):,} right"
