"""Parts of images covered, and noise added."""

import math

import jax.numpy as jnp
import numpy as np

from fnn.augment.augmentation import below, per_example, uniforms
from fnn.augment.checks import check_fill, check_floating, checked_number, checked_probability
from fnn.batch import Augmentation
from fnn.dtypes import accumulation_dtype
from fnn.layer import Array
from fnn.layers.noise_draws import normals


def cutout(size: int, *, fill: float = 0.0) -> Augmentation:
    """A square of `size` pixels a side is covered, about a pixel drawn uniformly from the whole image.

    What of the square lies outside of the image is cut off, so that near the border less is covered. Any
    dtype; what is not covered is exact. Source: DeVries, Taylor (2017).

    Args:
      size: pixels a side, at least 0; of an even one, the larger half lies before the pixel.
      fill: what covers.

    Raises:
      ValueError: a size that is no whole number >= 0, or a fill that x's integers cannot hold.
    """
    if not isinstance(size, int) or size < 0:
        raise ValueError(f"cutout: expected a size of a whole number >= 0, got {size!r}")
    checked_number("cutout", "a fill", fill, -_LARGEST, _LARGEST)

    def cover(key: Array, image: Array) -> Array:
        check_fill("cutout", fill, image)
        middle = below(uniforms(key, 2), jnp.asarray(image.shape[:2], jnp.int32))
        start = middle - size // 2
        inside = box(image.shape, start, start + size)
        return jnp.where(inside, jnp.asarray(fill, image.dtype), image)

    return per_example("cutout", cover)


def random_erasing(
    probability: float = 0.5,
    *,
    area: tuple[float, float] = (0.02, 0.4),
    ratio: tuple[float, float] = (0.3, 10 / 3),
    fill: float = 0.0,
) -> Augmentation:
    """A rectangle is covered, in each image with this probability.

    With a, its share of the area, uniform in `area`, and log r, r = height / width, uniform between the
    logarithms of `ratio`, it has ``√(a H W r)`` rows and ``√(a H W / r)`` columns, rounded, and cut to
    those of the image; its place is uniform among those where it lies inside. Any dtype. Source: Zhong,
    Zheng, Kang, Li, Yang (2017), who draw again what does not fit, and draw r itself uniformly.

    Raises:
      ValueError: a probability, a range or a fill that makes no sense.
    """
    name = "random_erasing"
    checked_probability(name, probability)
    if not 0 <= area[0] <= area[1] <= 1:
        raise ValueError(f"{name}: expected shares of the area from 0 to 1, low first, got {area}")
    if not 0 < ratio[0] <= ratio[1] < math.inf:
        raise ValueError(f"{name}: expected positive ratios, low first, got {ratio}")
    checked_number(name, "a fill", fill, -_LARGEST, _LARGEST)
    low = np.asarray([area[0], math.log(ratio[0])], np.float32)
    high = np.asarray([area[1], math.log(ratio[1])], np.float32)

    def cover(key: Array, image: Array) -> Array:
        check_fill(name, fill, image)
        height, width = image.shape[:2]
        u = uniforms(key, 5)
        share, log_ratio = low + u[:2] * (high - low)
        half = log_ratio / 2
        sides = jnp.sqrt(share * (height * width)) * jnp.exp(jnp.stack([half, -half]))
        whole = jnp.asarray([height, width], jnp.float32)
        sides = jnp.minimum(jnp.rint(sides), whole)
        # u < 1, but the product may be rounded up to the number of places.
        start = jnp.minimum(jnp.floor(u[2:4] * (whole - sides + 1)), whole - sides)
        inside = box(image.shape, start, start + sides) & (u[4] < probability)
        return jnp.where(inside, jnp.asarray(fill, image.dtype), image)

    return per_example(name, cover)


def gaussian_noise(stddev: float) -> Augmentation:
    """x + stddev · ε, with ε ~ N(0, 1) for every pixel and channel.

    x and y are floating; nothing is clipped. Source: Sietsma, Dow (1991).

    Raises:
      TypeError: x is of integers.
      ValueError: stddev is negative or not finite.
    """
    checked_number("gaussian_noise", "a standard deviation", stddev, 0.0, _LARGEST)

    def add(key: Array, image: Array) -> Array:
        check_floating("gaussian_noise", image)
        if stddev == 0:
            return image
        wide = accumulation_dtype(image.dtype)
        noise = stddev * normals(key, image.shape, image.dtype).astype(wide)
        return (image.astype(wide) + noise).astype(image.dtype)

    return per_example("gaussian_noise", add)


def box(shape: tuple[int, ...], start: Array, stop: Array) -> Array:
    """(H, W, 1): which pixels have start <= (row, column) < stop."""
    rows, columns = (jnp.arange(n, dtype=start.dtype) for n in shape[:2])
    in_rows = (start[0] <= rows) & (rows < stop[0])
    in_columns = (start[1] <= columns) & (columns < stop[1])
    return (in_rows[:, None] & in_columns[None, :])[:, :, None]


_LARGEST = float(jnp.finfo(jnp.float32).max)
