"""What augmentation costs: on the device, against the same in Pillow and in NumPy on the host.

    python -m experiments.augmentation_cost [--seconds 5] [--batch 128]

Each image is turned, scaled, sheared and moved in one bilinear resampling, then padded by 4, cropped at a
drawn place and flipped half of the time. All three get the batch as bytes and give bytes; each draws its
own numbers. Pillow goes image by image, as a loader's worker does, from the array and back; NumPy takes
the batch at once where it can. Time is host / device, median [quartiles] over rounds in turn. Before,
all are given the same matrices and must agree: NumPy to a grey level, Pillow to two inside.
"""

# Two cores that others used too, jax 0.10.2, Pillow 13, batch 128: a batch of 28 x 28 x 1 takes 1.2 ms,
# Pillow / device 9.6 [8.6-11.3], NumPy / device 8.0 [7.5-11.7]; one of 32 x 32 x 3 takes 1.3 ms,
# Pillow 8.7 [6.9-15.4], NumPy 19.3 [15.3-25.3].

import argparse
import itertools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.timing import in_turn, ratio
from fnn import augment
from fnn.augment import Augmentation
from fnn.extras import require

SHAPES = ((28, 28, 1), (32, 32, 3))
PADDING = 4
DEGREES, SCALES, SHEAR, SHIFT = 15.0, (0.9, 1.1), 0.1, 2.0


def on_device() -> Augmentation:
    """The augmentation of this library."""
    return augment.compose(
        augment.affine(
            augment.rotate(DEGREES),
            augment.scale(*SCALES),
            augment.shear(SHEAR),
            augment.translate(SHIFT),
        ),
        augment.random_crop(PADDING),
        augment.horizontal_flip(),
    )


def host_matrices(rng: np.random.Generator, count: int) -> np.ndarray:
    """(N, 2, 3): where each output pixel looks, in rows and columns from the middle."""
    angle = np.radians(rng.uniform(-DEGREES, DEGREES, count))
    size = rng.uniform(*SCALES, count)
    cosine, sine = np.cos(angle) / size, np.sin(angle) / size
    turn = np.stack([np.stack([cosine, sine], -1), np.stack([-sine, cosine], -1)], -2)
    shear = np.tile(np.eye(2), (count, 1, 1))
    shear[:, 1, 0] = -rng.uniform(-SHEAR, SHEAR, count)
    linear = turn @ shear
    shift = linear @ rng.uniform(-SHIFT, SHIFT, (count, 2, 1))
    return np.concatenate([linear, -shift], axis=-1).astype(np.float32)


def numpy_affine(x: np.ndarray, matrices: np.ndarray) -> np.ndarray:
    """The batch under its matrices, bilinear, with black around: all images at once."""
    count, height, width, channels = x.shape
    i = np.arange(height, dtype=np.float32)[:, None] - (height - 1) / 2
    j = np.arange(width, dtype=np.float32)[None, :] - (width - 1) / 2
    a = matrices[:, :, :, None, None]
    row = a[:, 0, 0] * i + a[:, 0, 1] * j + a[:, 0, 2] + np.float32((height - 1) / 2)
    column = a[:, 1, 0] * i + a[:, 1, 1] * j + a[:, 1, 2] + np.float32((width - 1) / 2)
    top, left = np.floor(row), np.floor(column)
    u, v = (row - top)[..., None], (column - left)[..., None]
    top, left = top.astype(np.int32), left.astype(np.int32)
    pixels = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0))).reshape(-1, channels)
    base: np.ndarray = np.arange(count, dtype=np.int32)[:, None, None] * (height + 2)

    def seen(r: np.ndarray, c: np.ndarray) -> np.ndarray:
        inside = (base + np.clip(r, -1, height) + 1) * (width + 2) + np.clip(c, -1, width) + 1
        return pixels[inside].astype(np.float32)

    upper = (1 - v) * seen(top, left) + v * seen(top, left + 1)
    lower = (1 - v) * seen(top + 1, left) + v * seen(top + 1, left + 1)
    return np.rint((1 - u) * upper + u * lower).astype(x.dtype)


def numpy_batch(rng: np.random.Generator, x: np.ndarray) -> np.ndarray:
    """The whole augmentation of a batch."""
    count, height, width, _ = x.shape
    x = numpy_affine(x, host_matrices(rng, count))
    border = (PADDING, PADDING)
    padded = np.pad(x, ((0, 0), border, border, (0, 0)))
    corners = rng.integers(0, 2 * PADDING + 1, (count, 2))
    x = np.stack(
        [p[a : a + height, b : b + width] for p, (a, b) in zip(padded, corners, strict=True)]
    )
    flipped: np.ndarray = np.less(rng.random(count), 0.5)
    x[flipped] = x[flipped, :, ::-1]
    return x


def pillow_affine(image: Any, matrix: np.ndarray, module: Any) -> Any:
    """One Pillow image under its matrix, which Pillow wants in (x, y) of pixel corners."""
    width, height = image.size
    linear = matrix[::-1, 1::-1].astype(float)
    middle = np.array([width / 2, height / 2])
    offset = matrix[::-1, 2] + middle - linear @ middle
    data = (*linear[0], offset[0], *linear[1], offset[1])
    return image.transform(
        image.size, module.Transform.AFFINE, data, resample=module.Resampling.BILINEAR
    )


def pillow_batch(rng: np.random.Generator, x: np.ndarray) -> np.ndarray:
    """The whole augmentation, image by image."""
    module = require("PIL.Image", "experiments")
    count, height, width, channels = x.shape
    matrices = host_matrices(rng, count)
    corners = rng.integers(0, 2 * PADDING + 1, (count, 2)) - PADDING
    flipped: np.ndarray = np.less(rng.random(count), 0.5)
    out = np.empty_like(x)
    for n in range(count):
        image = module.fromarray(x[n, :, :, 0] if channels == 1 else x[n])
        image = pillow_affine(image, matrices[n], module)
        top, left = (int(c) for c in corners[n])
        image = image.crop((left, top, left + width, top + height))  # black outside
        if flipped[n]:
            image = image.transpose(module.Transpose.FLIP_LEFT_RIGHT)
        out[n] = np.asarray(image).reshape(height, width, channels)
    return out


def check_agreement(x: np.ndarray) -> None:
    """Compare NumPy's and Pillow's resampling with ours, in grey levels.

    Raises:
      AssertionError: they do not do the same.
    """
    module = require("PIL.Image", "experiments")
    matrices = host_matrices(np.random.default_rng(1), len(x))
    floats = (jnp.asarray(x, jnp.float32), jnp.asarray(matrices))
    ours = np.asarray(augment.resample().predict((), (), floats))
    by_numpy = np.abs(numpy_affine(x, matrices) - ours).max()
    theirs = [
        np.asarray(pillow_affine(module.fromarray(image.squeeze()), matrix, module))
        for image, matrix in zip(x, matrices, strict=True)
    ]
    inner = slice(8, -8)  # no border there, whatever these matrices do
    by_pillow = np.abs(np.stack(theirs).reshape(x.shape) - ours)[:, inner, inner].max()
    assert by_numpy <= 1.01
    assert by_pillow <= 2.01


def times(x: np.ndarray, seconds: float) -> dict[str, np.ndarray]:
    """Seconds a batch, one entry a round, of all three."""
    rng = np.random.default_rng(1)
    run = jax.jit(on_device())
    images, labels = jnp.asarray(x), jnp.zeros(len(x), jnp.int32)
    keys = itertools.cycle(list(jax.random.split(jax.random.key(0), 100)))
    return in_turn(
        {
            "device": lambda: run(next(keys), (images, labels))[0],
            "pillow": lambda: pillow_batch(rng, x),
            "numpy": lambda: numpy_batch(rng, x),
        },
        seconds=seconds,
    )


def main(argv: Sequence[str] | None = None) -> None:
    """Print a row for each shape."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=5.0, help="timing, for each shape")
    parser.add_argument("--batch", type=int, default=128)
    arguments = parser.parse_args(argv)
    print(f"{'batch':18}{'device ms':>10}{'Pillow / device':>22}{'NumPy / device':>22}")
    for shape in SHAPES:
        smooth = np.random.default_rng(0).random((arguments.batch, *shape)).cumsum(1).cumsum(2)
        x = (255 * smooth / smooth.max(axis=(1, 2, 3), keepdims=True)).astype(np.uint8)
        check_agreement(x)
        taken = times(x, arguments.seconds)
        ratios = [ratio(taken[name], taken["device"]) for name in ("pillow", "numpy")]
        milliseconds = 1000 * np.median(taken["device"])
        print(f"{x.shape!s:18}{milliseconds:10.2f}{ratios[0]!s:>22}{ratios[1]!s:>22}")


if __name__ == "__main__":
    main()
