"""Image files as a network sees them."""

from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from fnn.extras import require

Invert = Literal["auto", "yes", "no"]
_DEEP_GREY = 65535  # white in files of 16 bits


class Picture(NamedTuple):
    """An image in the form of the training images: grey levels in [0, 1], strokes bright."""

    pixels: np.ndarray  # (H, W, 1), float32
    done: str  # what was done to it: "", "inverted", "resized from 280 × 280"


def read_picture(path: Path, size: tuple[int, int], invert: Invert, resize: bool) -> Picture:
    """The image at `path`, of the size (height, width) that is asked for.

    Colours become grey levels (ITU-R 601), transparency becomes white paper. With `invert` at "auto", an
    image is inverted if its border is brighter than the middle grey on average.

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: it is no image that can be read, or has another size and `resize` is not set, or
        other proportions.
    """
    image = require("PIL.Image", "experiments")
    try:
        with image.open(path) as opened:
            grey = _grey(opened, image)
    except FileNotFoundError as error:
        raise FileNotFoundError(f"no image file {path}") from error
    except (OSError, SyntaxError, image.DecompressionBombError) as error:
        raise ValueError(f"{path}: expected an image that can be read, got: {error}") from error
    done = []
    if grey.shape != size:
        came, wanted = (f"{height} × {width}" for height, width in (grey.shape, size))
        if grey.shape[0] * size[1] != grey.shape[1] * size[0]:
            raise ValueError(
                f"{path}: expected {wanted} pixels (height × width), got {came}, whose proportions are "
                "others; crop or pad it"
            )
        if not resize:
            raise ValueError(
                f"{path}: expected {wanted} pixels (height × width), got {came}; "
                "scale it, or pass --resize"
            )
        scaled = image.fromarray(grey).resize(size[::-1], image.Resampling.BOX)
        grey = np.asarray(scaled, np.float32)
        done.append(f"resized from {came}")
    if invert == "yes" or (invert == "auto" and _border(grey).mean() > 0.5):
        grey = 1 - grey
        done.append("inverted")
    return Picture(np.clip(grey, 0, 1)[..., None], ", ".join(done))


def _grey(opened: Any, image: Any) -> np.ndarray:
    """Grey levels (H, W) in [0, 1], float32."""
    if opened.mode.startswith("I"):
        return np.asarray(opened, np.float32) / _DEEP_GREY
    if "A" in opened.mode or "transparency" in opened.info:
        coloured = opened.convert("RGBA")
        paper = image.new("RGBA", coloured.size, "white")
        opened = image.alpha_composite(paper, coloured)
    return np.asarray(opened.convert("L"), np.float32) / 255


def _border(grey: np.ndarray) -> np.ndarray:
    return np.concatenate([grey[0], grey[-1], grey[1:-1, 0], grey[1:-1, -1]])
