"""One row for each augmentation, as the properties see it, and batches to try them on."""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from fnn import augment
from fnn.augment import Augmentation


@dataclasses.dataclass(frozen=True)
class Row:
    """One augmentation, the same at settings that change nothing, and what it takes."""

    build: Callable[[], Augmentation]
    # At settings at which x comes out to the last bit; None where there are none.
    still: Callable[[], Augmentation] | None
    takes_bytes: bool = True
    channels: int = 3
    # Whether labels come out as probabilities.
    soft: bool = False
    # Whether an example changes with its neighbour in the batch.
    alone: bool = True


def _everything() -> Augmentation:
    return augment.affine(
        augment.flip(0.5, 0.5),
        augment.scale(0.8, 1.2),
        augment.stretch(0.9, 1.1),
        augment.shear(0.1, 0.1),
        augment.rotate(20),
        augment.translate(1.5),
    )


ROWS = {
    "affine": Row(
        _everything,
        lambda: augment.affine(
            augment.flip(0, 0),
            augment.scale(1, 1),
            augment.stretch(1, 1),
            augment.shear(0, 0),
            augment.rotate(0),
            augment.translate(0),
        ),
    ),
    "affine nearest": Row(
        lambda: augment.affine(augment.rotate(40), interpolation="nearest", edge="reflect"),
        lambda: augment.affine(augment.rotate(0), interpolation="nearest", edge="reflect"),
    ),
    "affine edge": Row(
        lambda: augment.affine(augment.translate(2, 1), edge="edge"),
        lambda: augment.affine(augment.translate(0), edge="edge"),
    ),
    "random_crop": Row(lambda: augment.random_crop(2), lambda: augment.random_crop(0)),
    "random_crop reflect": Row(lambda: augment.random_crop(2, edge="reflect"), None),
    "horizontal_flip": Row(augment.horizontal_flip, lambda: augment.horizontal_flip(0.0)),
    "vertical_flip": Row(augment.vertical_flip, lambda: augment.vertical_flip(0.0)),
    "cutout": Row(lambda: augment.cutout(3, fill=9), lambda: augment.cutout(0)),
    "random_erasing": Row(
        lambda: augment.random_erasing(0.9, fill=9), lambda: augment.random_erasing(0.0)
    ),
    "gaussian_noise": Row(
        lambda: augment.gaussian_noise(0.1), lambda: augment.gaussian_noise(0.0), takes_bytes=False
    ),
    "color_jitter": Row(
        lambda: augment.color_jitter(0.4, 0.4, 0.4, 0.1), augment.color_jitter, takes_bytes=False
    ),
    "color_jitter grey": Row(
        lambda: augment.color_jitter(0.4, 0.4), augment.color_jitter, takes_bytes=False, channels=1
    ),
    "mixup": Row(
        lambda: augment.mixup(5),
        lambda: augment.mixup(5, 0.0),
        takes_bytes=False,
        soft=True,
        alone=False,
    ),
    "cutmix": Row(
        lambda: augment.cutmix(5), lambda: augment.cutmix(5, 0.0), soft=True, alone=False
    ),
    "compose": Row(
        lambda: augment.compose(augment.random_crop(1), flip=augment.horizontal_flip()),
        augment.compose,
    ),
    "sometimes": Row(
        lambda: augment.sometimes(0.5, augment.cutout(3, fill=9)),
        lambda: augment.sometimes(0.0, augment.cutout(3, fill=9)),
    ),
    "per_example": Row(
        lambda: augment.per_example("roll", lambda key, image: jnp.roll(image, _step(key), 1)),
        lambda: augment.per_example("nothing", lambda key, image: image),
    ),
}


def _step(key):
    return jax.random.randint(key, (), 0, 9, jnp.int32)


def batch(rng, count=6, shape=(7, 9), channels=3, dtype=np.float32, weights=False):
    """Images in [0, 1], or bytes, with labels below 5."""
    x = rng.random((count, *shape, channels))
    x = (x * 255).astype(dtype) if np.dtype(dtype).kind in "iu" else x.astype(dtype)
    labels = rng.integers(0, 5, count).astype(np.int32)
    drawn = (jnp.asarray(x), jnp.asarray(labels))
    return (*drawn, jnp.asarray(rng.random(count), jnp.float32)) if weights else drawn
