"""Paths of optimizers over the plane: a picture and an animation of them.

All start at one point of a landscape and see its exact gradient. The learning rate of each is the one of
a logarithmic grid, the same for all, whose path gets down fastest; the whole grid is one `vmap`.
"""

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fnn import optimizers
from fnn.extras import require
from fnn.layer import Array
from fnn.optimizers import Optimizer, apply_updates, with_hyperparameters

RATES = np.geomspace(1e-4, 3.0, 40)
Build = Callable[..., Optimizer]  # from the rate
GROUPS: Mapping[str, Mapping[str, Build]] = {
    "descent": {
        "sgd": optimizers.sgd,
        "momentum": optimizers.momentum,
        "nesterov": optimizers.nesterov,
    },
    "a rate for each parameter": {
        "adagrad": optimizers.adagrad,
        "rmsprop": optimizers.rmsprop,
        "adadelta": optimizers.adadelta,
    },
    "Adam and what came of it": {
        "adam": optimizers.adam,
        "nadam": optimizers.nadam,
        "radam": optimizers.radam,
        "adamax": optimizers.adamax,
    },
    "its variants": {
        "amsgrad": optimizers.amsgrad,
        "adabelief": optimizers.adabelief,
        "yogi": optimizers.yogi,
        "adamw": optimizers.adamw,
    },
    "the sign alone": {
        "sign_sgd": optimizers.sign_sgd,
        "lion": optimizers.lion,
        "rprop": optimizers.rprop,
    },
}
# Okabe and Ito's colours, which stay apart for every kind of colour vision; the dashes help in grey.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7")
DASHES = ("-", (0, (5, 1.5)), (0, (1.5, 1.2)), (0, (6, 1.5, 1.5, 1.5)))
TAIL = 40  # steps that an animation shows behind each dot


@dataclasses.dataclass(frozen=True)
class Landscape:
    """A function of the plane, and where the paths begin."""

    name: str
    value: Callable[[Array], Array]
    start: tuple[float, float]
    minima: tuple[tuple[float, float], ...]
    least: float
    box: tuple[float, float, float, float]  # x and y, from and to


def _valley(p: Array) -> Array:
    return 0.5 * (0.05 * p[0] ** 2 + 5 * p[1] ** 2)


def _saddle(p: Array) -> Array:
    return 0.5 * p[0] ** 2 - 0.5 * p[1] ** 2 + 0.25 * p[1] ** 4


def _beale(p: Array) -> Array:
    x, y = p[0], p[1]
    return (1.5 - x + x * y) ** 2 + (2.25 - x + x * y**2) ** 2 + (2.625 - x + x * y**3) ** 2


LANDSCAPES = (
    Landscape(
        "a valley, 100 times steeper across", _valley, (-9, 1.6), ((0, 0),), 0, (-10, 4, -2, 2)
    ),
    Landscape("a saddle", _saddle, (-1.2, 1e-3), ((0, 1), (0, -1)), -0.25, (-1.4, 0.9, -0.75, 1.6)),
    Landscape("Beale's function", _beale, (0.8, 1.6), ((3, 0.5),), 0, (-0.5, 4.2, -1.2, 2.2)),
)


def fastest(build: Build, land: Landscape, steps: int) -> tuple[float, Any]:
    """The rate that gets down fastest, and its path (steps + 1, 2).

    Fastest is the least mean, over the steps, of the logarithm of the height above the minimum, among
    the paths that do not leave the picture; a path that leaves it is taken only if all do.
    """
    start = jnp.asarray(land.start, jnp.float32)

    def walk(rate: Array) -> Array:
        optimizer = build(1e-3)
        if "rate" in dict(optimizers.hyperparameters(optimizer.init(start))):
            first = with_hyperparameters(optimizer.init(start), rate=rate)
        else:
            optimizer = build(rate)  # of Rprop it is where the state begins
            first = optimizer.init(start)

        def step(carry: tuple[Array, Any], _: None) -> tuple[tuple[Array, Any], Array]:
            p, state = carry
            updates, state = optimizer.update(jax.grad(land.value)(p), state, p)
            p = apply_updates(p, updates)
            return (p, state), p

        path = jax.lax.scan(step, (start, first), None, length=steps)[1]
        return jnp.concatenate([start[None], path])

    paths = np.asarray(jax.jit(jax.vmap(walk))(jnp.asarray(RATES, jnp.float32)))
    heights = np.asarray(jax.vmap(jax.vmap(land.value))(jnp.asarray(paths))) - land.least
    with np.errstate(over="ignore", invalid="ignore"):
        scores = np.log10(np.maximum(heights, 0) + 1e-6).mean(axis=1)
    left, right, low, high = land.box
    inside = (paths >= [left, low]) & (paths <= [right, high])
    scores = np.where(inside.all(axis=(1, 2)), scores, scores + 100)
    best = int(np.where(np.isfinite(scores), scores, np.inf).argmin())
    return float(RATES[best]), paths[best]


def all_paths(steps: int) -> dict[tuple[str, str], tuple[float, Any]]:
    """(landscape, optimizer) -> (rate, path)."""
    return {
        (land.name, name): fastest(build, land, steps)
        for land in LANDSCAPES
        for group in GROUPS.values()
        for name, build in group.items()
    }


def arrivals(found: Mapping[tuple[str, str], tuple[float, Any]]) -> str:
    """A table: the tuned rate, and the steps until a thousandth of the first height is left."""
    lines = [f"{'':12}" + "".join(f"{land.name:>38}" for land in LANDSCAPES)]
    for name in (name for group in GROUPS.values() for name in group):
        cells = []
        for land in LANDSCAPES:
            rate, path = found[land.name, name]
            height = np.asarray(jax.vmap(land.value)(jnp.asarray(path))) - land.least
            above = np.flatnonzero(~(height <= 1e-3 * height[0]))
            last = int(above[-1]) + 1
            said = f"{last} steps" if last < len(path) else f"not in {len(path) - 1} steps"
            cells.append(f"{f'{said} at rate {rate:.2g}':>38}")
        lines.append(f"{name:12}" + "".join(cells))
    return "\n".join(lines)


def picture(found: Mapping[tuple[str, str], tuple[float, Any]], path: Path) -> None:
    """All paths, a row for each group and a column for each landscape."""
    figure, drawn = _panels(found)
    for line, _, points in drawn:
        line.set_data(*points.T)
    figure.savefig(path, dpi=110, facecolor="white")


def animation(found: Mapping[tuple[str, str], tuple[float, Any]], path: Path, frames: int) -> None:
    """The same, moving: quick at first, and slower later, as the paths are long at first."""
    writer = require("matplotlib.animation", "experiments").PillowWriter(fps=10)
    figure, drawn = _panels(found)
    last = max(len(points) for _, _, points in drawn) - 1
    shown = np.unique(np.linspace(0, np.sqrt(last), frames).__pow__(2).round().astype(int))
    title = figure.suptitle("")
    with writer.saving(figure, str(path), dpi=65):
        for number in [*shown, *[last] * 8]:
            for line, dot, points in drawn:
                line.set_data(*points[max(0, number - TAIL) : number + 1].T)
                dot.set_data(*points[number : number + 1].T)
            title.set_text(f"step {number}")
            writer.grab_frame()


def _panels(found: Mapping[tuple[str, str], tuple[float, Any]]) -> tuple[Any, list[Any]]:
    """The figure, and (line, dot, points) for every path, nothing of it drawn yet."""
    figure = require("matplotlib.figure", "experiments").Figure(
        figsize=(12, 2.6 * len(GROUPS)), layout="constrained"
    )
    require("matplotlib.backends.backend_agg", "experiments").FigureCanvasAgg(figure)
    grid = figure.subplots(len(GROUPS), len(LANDSCAPES))
    drawn = []
    for row, (title, group) in zip(grid, GROUPS.items(), strict=True):
        for axes, land in zip(row, LANDSCAPES, strict=True):
            _ground(axes, land)
            if axes in grid[0]:
                axes.set_title(land.name, fontsize=11)
            for name, colour, dash in zip(group, COLOURS, DASHES, strict=False):
                points = np.clip(found[land.name, name][1], -50, 50)
                (line,) = axes.plot([], [], color=colour, linestyle=dash, linewidth=1.7, label=name)
                (dot,) = axes.plot([], [], "o", color=colour, markeredgecolor="white", markersize=8)
                drawn.append((line, dot, points))
        row[0].set_ylabel(title)
        row[-1].legend(
            loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False, handlelength=3.2
        )
    return figure, drawn


def _ground(axes: Any, land: Landscape) -> None:
    """Heights as grey bands of equal ratio, the start and the minima."""
    left, right, low, high = land.box
    x, y = np.meshgrid(np.linspace(left, right, 240), np.linspace(low, high, 240))
    height = np.asarray(land.value(jnp.asarray([x, y], jnp.float32))) - land.least
    bands = np.floor(2.5 * np.log10(height + 1e-2))
    axes.imshow(
        bands,
        extent=land.box,
        origin="lower",
        aspect="auto",
        cmap="Greys",
        vmin=bands.min() - 1,
        vmax=2.2 * bands.max() - bands.min() + 1,
        interpolation="bilinear",
    )
    axes.plot(*land.start, "s", color="black", markersize=5)
    for minimum in land.minima:
        axes.plot(*minimum, "*", color="black", markersize=11)
    axes.set(xlim=(left, right), ylim=(low, high), xticks=[], yticks=[])
