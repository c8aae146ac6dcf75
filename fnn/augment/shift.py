"""Crops and mirror images: pixels move by whole numbers, so that each keeps its value to the last bit."""

import jax.numpy as jnp
from jax import lax

from fnn.augment.augmentation import below, per_example, uniforms
from fnn.augment.checks import check_fill, checked_probability
from fnn.augment.resample import Edge, checked_sampling
from fnn.batch import Augmentation
from fnn.layer import Array


def random_crop(
    padding: int = 0,
    *,
    size: tuple[int, int] | None = None,
    edge: Edge = "constant",
    fill: float = 0.0,
) -> Augmentation:
    """A window of each image, padded by `padding` pixels on every side, at a uniformly drawn place.

    The window has the image's own size, so that the picture moves by up to `padding` pixels, or `size`.
    Any dtype; exact. Source: padding by 4, He, Zhang, Ren, Sun (2015); windows, Krizhevsky, Sutskever,
    Hinton (2012).

    Args:
      padding: pixels, at least 0.
      size: (h, w) of the window.
      edge: what the padding is: "constant" for `fill`, "edge" for the nearest pixel, "reflect" for the
        image reflected about its outermost pixels.
      fill: the constant.

    Raises:
      ValueError: an option that is none, or a window that is larger than the padded image.
    """
    name = "random_crop"
    if not isinstance(padding, int) or padding < 0:
        raise ValueError(f"{name}: expected padding of a whole number >= 0, got {padding!r}")
    checked_sampling(name, size, "nearest", edge, fill)

    def crop(key: Array, image: Array) -> Array:
        check_fill(name, fill, image)
        height, width, channels = image.shape
        h, w = size or (height, width)
        room = [height + 2 * padding - h, width + 2 * padding - w]
        if min(room) < 0:
            raise ValueError(
                f"{name}: expected images that hold a window of {(h, w)} pixels, got "
                f"{(height, width)}, padded by {padding}; pad more"
            )
        border = ((padding, padding), (padding, padding), (0, 0))
        if edge == "constant":
            image = jnp.pad(image, border, constant_values=jnp.asarray(fill, image.dtype))
        else:
            image = jnp.pad(image, border, mode=edge)
        corner = below(uniforms(key, 2), jnp.asarray(room, jnp.int32) + 1)
        return lax.dynamic_slice(image, (corner[0], corner[1], jnp.int32(0)), (h, w, channels))

    return per_example(name, crop)


def horizontal_flip(probability: float = 0.5) -> Augmentation:
    """Left and right change places, in each image with this probability. Any dtype; exact.

    Raises:
      ValueError: the probability is not in [0, 1].
    """
    return _flip("horizontal_flip", 1, probability)


def vertical_flip(probability: float = 0.5) -> Augmentation:
    """Top and bottom change places, in each image with this probability. Any dtype; exact.

    Raises:
      ValueError: the probability is not in [0, 1].
    """
    return _flip("vertical_flip", 0, probability)


def _flip(name: str, axis: int, probability: float) -> Augmentation:
    checked_probability(name, probability)

    def flip(key: Array, image: Array) -> Array:
        return jnp.where(uniforms(key, 1)[0] < probability, jnp.flip(image, axis), image)

    return per_example(name, flip)
