"""Settings and images looked at before they are used."""

import jax.numpy as jnp

from fnn.layer import Array


def checked_probability(name: str, probability: float) -> float:
    """The probability.

    Raises:
      ValueError: it is not in [0, 1].
    """
    if not 0 <= probability <= 1:
        raise ValueError(f"{name}: expected a probability from 0 to 1, got {probability}")
    return float(probability)


def check_fill(name: str, fill: float, image: Array) -> None:
    """Refuse a fill that the image cannot hold.

    Raises:
      TypeError: the image is of truth values.
      ValueError: the image is of integers, and the fill is none of them; or the fill is too large.
    """
    if jnp.issubdtype(image.dtype, jnp.inexact):
        largest = float(jnp.finfo(image.dtype).max)
        if not abs(fill) <= largest:
            raise ValueError(
                f"{name}: expected a fill from {-largest:g} to {largest:g}, for images of "
                f"{image.dtype}, got {fill}"
            )
        return
    if image.dtype == jnp.bool_:
        raise TypeError(f"{name}: expected images of numbers, got {image.dtype}; convert them")
    range_ = jnp.iinfo(image.dtype)
    if fill != int(fill) or not range_.min <= fill <= range_.max:
        raise ValueError(
            f"{name}: expected a fill that {image.dtype} holds, for images of it, got {fill}"
        )


def check_floating(name: str, image: Array) -> None:
    """Refuse integers, which cannot hold what comes out.

    Raises:
      TypeError: the image is of no real floating dtype.
    """
    if not jnp.issubdtype(image.dtype, jnp.floating):
        raise TypeError(
            f"{name}: expected images of a floating dtype, got {image.dtype}; convert them before, as "
            "in x / 255 of bytes"
        )


def checked_number(name: str, what: str, value: float, low: float, high: float) -> float:
    """The number.

    Raises:
      ValueError: it is not in [low, high].
    """
    if not low <= value <= high:
        raise ValueError(f"{name}: expected {what} from {low} to {high}, got {value}")
    return float(value)
