"""Pictures in characters: what the text twins are drawn with."""

import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np

_LEVELS = "▁▂▃▄▅▆▇█"
_SHADES = " ·░▒▓█"
_UNKNOWN = "?"


def sparkline(values: np.ndarray, width: int = 60) -> str:
    """A line of blocks: means of `width` equal parts of the values, from their lowest to their highest.

    A part that holds a value that is not finite is "?".

    Raises:
      ValueError: values that have not one axis.
    """
    values = np.asarray(values, np.float64)
    if values.ndim != 1:
        raise ValueError(f"sparkline: expected values (n,), got shape {values.shape}")
    return shaded(thinned(values, width), _LEVELS)


def thinned(values: np.ndarray, width: int) -> np.ndarray:
    """(min(n, width), …): the means of equal parts along the first axis; NaN where one is not finite."""
    values = np.where(np.isfinite(values), values, np.nan)
    if len(values) <= width:
        return values
    edges = np.linspace(0, len(values), width + 1).round().astype(int)
    return np.stack([values[a:b].mean(axis=0) for a, b in pairwise(edges)])


def shaded(
    values: np.ndarray, levels: str = _SHADES, low: float | None = None, high: float | None = None
) -> str:
    """One character a value, from the first of `levels` at `low` to the last at `high`."""
    finite = values[np.isfinite(values)]
    if not finite.size:
        return _UNKNOWN * len(values)
    low = float(finite.min()) if low is None else low
    high = float(finite.max()) if high is None else high
    span = high - low
    share = (values - low) / span if span > 0 else values - low
    return "".join(
        levels[min(max(int(part * len(levels)), 0), len(levels) - 1)]
        if math.isfinite(part)
        else _UNKNOWN
        for part in share
    )


def image_text(image: np.ndarray, width: int = 56) -> str:
    """An image (H, W) as lines of shades, two characters a pixel or less, and the ends of the scale."""
    image = np.asarray(image, np.float64)
    room = max(width // 2, 1)
    small = thinned(thinned(image, room).T, room).T
    finite = small[np.isfinite(small)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)
    lines = ["".join(2 * c for c in shaded(row, low=low, high=high)).rstrip() for row in small]
    return "\n".join([*lines, f"[{_SHADES}] from {low:.3g} to {high:.3g}"])


def named(classes: Sequence[object]) -> list[str]:
    """The names of classes, of which numbers are some too."""
    return [str(name) for name in classes]


def bar(share: float, width: int = 30) -> str:
    """A bar of a share of `width`; nothing of what is not finite."""
    return "█" * round(width * min(max(share, 0.0), 1.0)) if math.isfinite(share) else ""
