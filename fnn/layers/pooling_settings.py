"""What all poolings over windows ask of their settings and of x."""

import math

from fnn.dtypes import check_inexact
from fnn.layer import Array
from fnn.layers.windows import (
    PaddingSetting,
    Sizes,
    Windows,
    WindowSettings,
    check_images,
    window_settings,
    windows_of,
)


def pool_settings(
    layer: str, window: int | Sizes, stride: int | Sizes | None, padding: PaddingSetting
) -> WindowSettings:
    """Checked settings of a pooling, of which no window may hold padding alone.

    Raises:
      ValueError: one is out of range.
    """
    settings = window_settings(layer, window, window if stride is None else stride, padding, 1)
    pads = settings.padding
    if not isinstance(pads, str):
        sides = ((pads, pads),) if isinstance(pads, int) else pads
        sizes = settings.window
        reaches = sizes if isinstance(sizes, tuple) else (sizes,) * len(sides)
        least = [max(low, high) for low, high in sides]
        if len(least) == 1:
            least *= len(reaches)
        if any(p >= reach for p, reach in zip(least, reaches, strict=True)):
            raise ValueError(
                f"{layer}: expected padding smaller than the window, so that each window holds a "
                f"pixel, got padding {padding!r} and a window of {window}"
            )
    return settings


def pool_windows(settings: WindowSettings, x: Array) -> Windows:
    """The windows on this x.

    Raises:
      TypeError: x is of integers.
      ValueError: x is no batch of images, or the window does not fit.
    """
    check_images(x, settings, None, None)
    check_inexact(x)
    return windows_of(settings, x.shape[1:-1])


def pool_name(settings: WindowSettings) -> str:
    """Such as ``max_pool(2)`` or ``max_pool(3x2)``."""
    window = settings.window
    size = str(window) if isinstance(window, int) else "x".join(map(str, window))
    return f"{settings.layer}({size})"


def check_positions(layer: str, x: Array) -> None:
    """Refuse an x without positions.

    Raises:
      ValueError: naming the layer and the shape.
    """
    if x.ndim < 3 or math.prod(x.shape[1:-1]) < 1:
        raise ValueError(
            f"{layer}: expected x of shape (N, …, C) with a position at least between batch and "
            f"channels, got {x.shape}"
        )
