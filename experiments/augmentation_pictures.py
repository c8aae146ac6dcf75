"""A picture of every augmentation, for docs/augmentation.md: a test card and what becomes of it.

    python -m experiments.augmentation_pictures [--out docs/augmentation]

Ten seconds on a CPU. The card is drawn here: a letter, so that one sees which way is up, on a gradient,
with a frame of one pixel. Each picture shows the card and six draws of one augmentation; where examples
mix, six cards and below them what came out.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fnn import augment
from fnn.augment import Augmentation
from fnn.extras import require

SIDE = 48  # pixels of a card
DRAWS = 6
CLASSES = 6
GAP = 4  # pixels between cards
COLORS = 160  # of a picture, so that it is small on disk

GLYPHS = {  # 5 x 7 pixels, a row a word, the leftmost pixel in the highest bit
    "R": (0b11110, 0b10001, 0b10001, 0b11110, 0b10100, 0b10010, 0b10001),
    "F": (0b11111, 0b10000, 0b10000, 0b11110, 0b10000, 0b10000, 0b10000),
    "G": (0b01110, 0b10001, 0b10000, 0b10111, 0b10001, 0b10001, 0b01110),
    "J": (0b00111, 0b00010, 0b00010, 0b00010, 0b00010, 0b10010, 0b01100),
    "P": (0b11110, 0b10001, 0b10001, 0b11110, 0b10000, 0b10000, 0b10000),
    "4": (0b00010, 0b00110, 0b01010, 0b10010, 0b11111, 0b00010, 0b00010),
}


def everything() -> Augmentation:
    """All geometric transforms in one resampling."""
    return augment.affine(
        augment.flip(),
        augment.rotate(15),
        augment.scale(0.8, 1.2),
        augment.stretch(0.9, 1.1),
        augment.shear(0.2),
        augment.translate(5),
    )


# What docs/augmentation.md shows, under the names of its pictures.
ALONE: dict[str, Augmentation] = {
    "flip": augment.affine(augment.flip(0.5, 0.5)),
    "scale": augment.affine(augment.scale(0.6, 1.6)),
    "translate": augment.affine(augment.translate(12)),
    "rotate": augment.affine(augment.rotate(45)),
    "stretch": augment.affine(augment.stretch(0.6, 1.6)),
    "shear": augment.affine(augment.shear(0.5)),
    "affine": everything(),
    "affine_edge": augment.affine(augment.rotate(45), edge="edge"),
    "affine_reflect": augment.affine(augment.rotate(45), edge="reflect"),
    "affine_nearest": augment.affine(augment.rotate(45), interpolation="nearest"),
    "random_crop": augment.random_crop(8),
    "horizontal_flip": augment.horizontal_flip(),
    "vertical_flip": augment.vertical_flip(),
    "color_jitter": augment.color_jitter(0.4, 0.4, 0.4, 0.1),
    "brightness": augment.color_jitter(brightness=0.6),
    "contrast": augment.color_jitter(contrast=0.8),
    "saturation": augment.color_jitter(saturation=1.0),
    "hue": augment.color_jitter(hue=0.5),
    "gaussian_noise": augment.gaussian_noise(0.15),
    "cutout": augment.cutout(16),
    "random_erasing": augment.random_erasing(1.0, fill=0.5),
    "sometimes": augment.sometimes(0.5, augment.cutout(16)),
    "compose": augment.compose(everything(), augment.color_jitter(0.4), augment.cutout(16)),
}
MIXED: dict[str, Augmentation] = {
    "mixup": augment.mixup(CLASSES, 1.0),
    "cutmix": augment.cutmix(CLASSES),
}


def card(place: int) -> np.ndarray:
    """(SIDE, SIDE, 3) in [0, 1]: the letter at this place of `GLYPHS`, in a color of its own."""
    rows, columns = np.mgrid[0:SIDE, 0:SIDE] / (SIDE - 1)
    angle = 2 * np.pi * place / len(GLYPHS)
    phases = angle + 2 * np.pi * np.arange(3) / 3
    image = 0.55 + 0.25 * np.cos(phases) * columns[..., None] + 0.2 * rows[..., None]
    words = list(GLYPHS.values())[place % len(GLYPHS)]
    bits = np.array([[word >> (4 - c) & 1 for c in range(5)] for word in words], bool)
    size = SIDE // 9
    glyph = bits.repeat(size, axis=0).repeat(size, axis=1)
    top, left = (SIDE - glyph.shape[0]) // 2, (SIDE - glyph.shape[1]) // 2
    image[top : top + glyph.shape[0], left : left + glyph.shape[1]][glyph] = (0.08, 0.08, 0.2)
    for edge in (0, -1):
        image[edge] = image[:, edge] = (0.9, 0.2, 0.1)
    return np.clip(image, 0, 1).astype(np.float32)


def pictures() -> dict[str, np.ndarray]:
    """Every picture by its name, (height, width, 3) in [0, 1]."""
    key = jax.random.key(0)
    cards = np.stack([card(i) for i in range(DRAWS)])
    labels = jnp.arange(DRAWS, dtype=jnp.int32)
    made = {}
    for name, augmentation in ALONE.items():
        same = np.repeat(cards[:1], DRAWS, axis=0)
        out = np.asarray(jax.jit(augmentation)(key, (same, labels))[0])
        made[name] = side_by_side([cards[0], *out])
    for name, augmentation in MIXED.items():
        out = np.asarray(jax.jit(augmentation)(key, (cards, labels))[0])
        made[name] = np.concatenate(
            [
                side_by_side(list(cards)),
                np.ones((GAP, row_width(DRAWS), 3)),
                side_by_side(list(out)),
            ]
        )
    crops = [np.asarray(view(jnp.asarray(cards[:1]))[0]) for view in augment.ten_crop((36, 36))]
    made["ten_crop"] = side_by_side(crops)
    return made


def row_width(count: int) -> int:
    """Pixels of so many cards side by side."""
    return count * SIDE + (count - 1) * GAP


def side_by_side(images: list[np.ndarray]) -> np.ndarray:
    """Images of one size in a row, white between them."""
    white = np.ones((images[0].shape[0], GAP, 3))
    parts = [part for image in images for part in (white, image)]
    return np.concatenate(parts[1:], axis=1)


def save(picture: np.ndarray, path: Path) -> None:
    """Write a PNG file of few colors."""
    image: Any = require("PIL.Image", "experiments")
    pixels = np.rint(255 * np.clip(picture, 0, 1)).astype(np.uint8)
    image.fromarray(pixels).quantize(COLORS).save(path, optimize=True)


def main(argv: Sequence[str] | None = None) -> None:
    """Draw all pictures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("docs/augmentation"))
    arguments = parser.parse_args(argv)
    arguments.out.mkdir(parents=True, exist_ok=True)
    for name, picture in pictures().items():
        path = arguments.out / f"{name}.png"
        save(picture, path)
        print(f"{path}  {path.stat().st_size / 1000:.1f} kB")


if __name__ == "__main__":
    main()
