"""Images: what filters look for, what layers make of an image, where it matters, and what went wrong."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from fnn.diagnostics.plots.colours import SCALE, SIGNED
from fnn.diagnostics.plots.figure import colour_bar, empty_figure, filled, frame, grid_of
from fnn.diagnostics.plots.text import image_text, named
from fnn.tables import table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_WRONG = "#A84300"  # vermillion, darkened until small text on white can be read


def filters(images: np.ndarray, title: str = "", most: int = 64) -> "Figure":
    """A grid of weights as images: 0 is white, positive red, negative blue, one scale for all.

    Args:
      images: (K, H, W); the `most` with the largest norms are shown, the others counted in the title.
      title: what they are.
      most: how many are drawn at the most.

    Raises:
      ValueError: there is none.
    """
    shown, title = _largest(images, title, most)
    images = images[shown]
    rows, columns = grid_of(len(images), 8 if len(images) > 6 else len(images))
    figure = empty_figure(max(0.78 * columns + 0.9, 4.0), 0.78 * rows + 0.6)
    grid = figure.subplots(
        rows, columns, squeeze=False, gridspec_kw={"wspace": 0.08, "hspace": 0.08}
    )
    limit = float(np.quantile(np.abs(images), 0.995)) or 1.0  # one outlier must not bleach the rest
    for axes, image in filled(grid, images):
        drawn = axes.imshow(image, cmap=SIGNED, vmin=-limit, vmax=limit, interpolation="nearest")
        frame(axes)
    colour_bar(figure, drawn, grid)
    figure.suptitle(title, x=0.01, ha="left")
    return figure


def filters_text(images: np.ndarray, title: str = "", most: int = 64) -> str:
    """The text twin of `filters`: of each its norm, its mean, and its largest weight with its place."""
    shown, title = _largest(images, title, most)
    lines = []
    for i in shown:
        place = np.unravel_index(np.abs(images[i]).argmax(), images[i].shape)
        norm, mean = float(np.linalg.norm(images[i])), float(images[i].mean())
        where = f"({place[0]}, {place[1]})"
        lines.append([str(i), f"{norm:.3g}", f"{mean:.2g}", f"{images[i][place]:.3g}", where])
    return "\n".join(filter(None, [title, *table(_FILTER, lines)]))


_FILTER = ("filter", "norm", "mean", "largest", "row, column")


def _largest(images: np.ndarray, title: str, most: int) -> tuple[np.ndarray, str]:
    if images.ndim != 3 or len(images) == 0:
        raise ValueError(f"expected at least one filter in images (K, H, W), got {images.shape}")
    count = len(images)
    if count <= most:
        return np.arange(count), title
    norms = np.linalg.norm(images.reshape(count, -1), axis=1)
    shown = np.sort(np.argsort(-norms, kind="stable")[:most])
    return shown, f"{title} ({most} of {count} with the largest norms)".strip()


def mistakes(
    images: np.ndarray,
    target: np.ndarray,
    probabilities: np.ndarray,
    classes: Sequence[object],
    most: int = 24,
) -> "Figure":
    """The wrongly classified images to which the right class seemed least likely, worst first.

    That is, those of the largest cross-entropy. Each carries what was said of it, with its probability,
    and what it is. Without any mistake, the figure says so.

    Args:
      images: (N, H, W), drawn in grey levels.
      target: (N,) true classes.
      probabilities: (N, C).
      classes: the names of the C classes.
      most: how many are drawn at the most.
    """
    worst, title = _worst(target, probabilities, most)
    rows, columns = grid_of(max(len(worst), 1), min(max(len(worst), 5), 8))
    figure = empty_figure(1.22 * max(columns, 5), 1.6 * rows + 0.5)
    figure.suptitle(f"{title}\n", x=0.01, ha="left")
    if len(worst) == 0:
        return figure
    key = "above: what the network said, and how sure it was; below: what it is"
    figure.text(0.012, 1 - 0.36 / figure.get_figheight(), key, fontsize=9, color=_WRONG, va="top")
    predicted, names = probabilities.argmax(axis=1), named(classes)
    for axes, n in filled(figure.subplots(rows, max(columns, 5), squeeze=False), worst):
        axes.imshow(images[n], cmap="gray", vmin=images.min(), vmax=images.max())
        said = f"{names[predicted[n]]}  {probabilities[n, predicted[n]]:.0%}"
        axes.set_title(said, color=_WRONG, fontsize=9, pad=3)
        axes.set_xlabel(f"is {names[target[n]]}", fontsize=9, labelpad=2)
        frame(axes)
    return figure


def mistakes_text(
    target: np.ndarray,
    probabilities: np.ndarray,
    classes: Sequence[object],
    most: int = 24,
) -> str:
    """The text twin of `mistakes`: which example, what was said and how surely, what it is, its loss."""
    worst, title = _worst(target, probabilities, most)
    if len(worst) == 0:
        return title
    predicted, names = probabilities.argmax(axis=1), named(classes)
    lines = []
    for n in worst:
        right = float(probabilities[n, target[n]])
        loss = -np.log(right) if right > 0 else np.inf
        lines.append(
            [
                str(n),
                names[predicted[n]],
                f"{probabilities[n, predicted[n]]:.1%}",
                names[target[n]],
                f"{right:.2%}",
                f"{loss:.3g}",
            ]
        )
    head = ["example", "said", "probability", "is", "probability", "cross-entropy, nats"]
    return "\n".join([title, *table(head, lines)])


def _worst(target: np.ndarray, probabilities: np.ndarray, most: int) -> tuple[np.ndarray, str]:
    wrong = np.flatnonzero(probabilities.argmax(axis=1) != target)
    worst = wrong[np.argsort(probabilities[wrong, target[wrong]], kind="stable")][:most]
    count = f"{len(wrong):,}" if len(wrong) else "no"
    found = f"{count} mistake{'' if len(wrong) == 1 else 's'} in {len(target):,} images"
    return worst, f"the {most} worst of {found}" if len(wrong) > most else found


def activation_maps(maps: np.ndarray, title: str = "", most: int = 64) -> "Figure":
    """What a layer makes of one image, channel by channel: the lighter, the larger, on one scale.

        seen = passages(net, loss, params, state, x, target)
        plots.activation_maps(np.asarray(seen["conv"].y[0]), "conv")

    Args:
      maps: (H, W, C), of one example; the `most` with the largest deviations are shown.
      title: whose they are.
      most: how many are drawn at the most.

    Raises:
      ValueError: another number of axes, or no channel.
    """
    shown, title = _liveliest(maps, title, most)
    rows, columns = grid_of(len(shown))
    figure = empty_figure(max(0.95 * columns + 0.9, 4.0), 1.1 * rows + 0.6)
    grid = figure.subplots(rows, columns, squeeze=False)
    low, high = float(maps.min()), float(maps.max())
    for axes, c in filled(grid, shown):
        drawn = axes.imshow(maps[..., c], cmap=SCALE, vmin=low, vmax=high, interpolation="nearest")
        axes.set_title(f"{c}", fontsize=8, pad=2)
        frame(axes)
    colour_bar(figure, drawn, grid, "activation")
    figure.suptitle(title, x=0.01, ha="left")
    return figure


def activation_maps_text(maps: np.ndarray, title: str = "", most: int = 64) -> str:
    """The text twin of `activation_maps`: of each channel its mean, deviation, zeros and peak."""
    shown, title = _liveliest(maps, title, most)
    lines = []
    for c in shown:
        image = maps[..., c]
        row, column = np.unravel_index(image.argmax(), image.shape)
        zeros = f"{float((image == 0).mean()):.0%}"
        peak = f"{float(image.max()):.3g} at ({row}, {column})"
        lines.append([str(c), f"{image.mean():.3g}", f"{image.std():.3g}", zeros, peak])
    head = ["channel", "mean", "deviation", "zeros", "largest at (row, column)"]
    return "\n".join(filter(None, [title, *table(head, lines)]))


def _liveliest(maps: np.ndarray, title: str, most: int) -> tuple[np.ndarray, str]:
    if maps.ndim != 3 or 0 in maps.shape:
        raise ValueError(f"activation_maps: expected one example's (H, W, C), got {maps.shape}")
    count = maps.shape[-1]
    if count <= most:
        return np.arange(count), title
    shown = np.sort(np.argsort(-maps.std(axis=(0, 1)), kind="stable")[:most])
    return shown, f"{title} ({most} of {count} channels with the largest deviations)".strip()


def saliency(images: np.ndarray, maps: np.ndarray, names: Sequence[str]) -> "Figure":
    """Images, and below each where a change of it would change the answer most.

    The maps are those of `fnn.diagnostics.saliency`.

    Args:
      images: (N, H, W) in grey levels, or (N, H, W, 3) in [0, 1].
      maps: (N, H, W), not negative; each has a scale of its own, from 0.
      names: N, what stands above each.

    Raises:
      ValueError: none, or shapes that do not fit.
    """
    _check_saliency(images, maps, names)
    figure = empty_figure(max(1.35 * len(images) + 0.6, 3.2), 3.2)
    upper, lower = figure.subplots(2, len(images), squeeze=False)
    for i, name in enumerate(names):
        upper[i].imshow(images[i], cmap="gray")
        upper[i].set_title(name, fontsize=9, pad=3)
        drawn = lower[i].imshow(maps[i], cmap=SCALE, vmin=0, interpolation="nearest")
        frame(upper[i])
        frame(lower[i])
    bar = figure.colorbar(drawn, ax=lower, fraction=0.04, pad=0.02, ticks=[0, drawn.get_clim()[1]])
    bar.ax.set_yticklabels(["0", "largest"], fontsize=8)
    bar.outline.set_visible(False)
    lower[0].set_ylabel("|d score / d pixel|", fontsize=8)
    return figure


def saliency_text(images: np.ndarray, maps: np.ndarray, names: Sequence[str]) -> str:
    """The text twin of `saliency`: the maps in shades, and where each is largest."""
    _check_saliency(images, maps, names)
    parts = []
    for name, found in zip(names, maps, strict=True):
        row, column = np.unravel_index(found.argmax(), found.shape)
        parts.append(f"{name}: largest at row {row}, column {column}\n{image_text(found)}")
    return "\n\n".join(parts)


def _check_saliency(images: np.ndarray, maps: np.ndarray, names: Sequence[str]) -> None:
    if maps.ndim != 3 or images.shape[:3] != maps.shape or not 0 < len(maps) == len(names):
        raise ValueError(
            "saliency: expected images (N, H, W) or (N, H, W, 3), maps (N, H, W) and N names, got "
            f"{images.shape}, {maps.shape} and {len(names)}"
        )
