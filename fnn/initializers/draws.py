"""Independent draws whose deviation does not depend on the shape."""

import math
from typing import Any

import jax

from fnn import random
from fnn.dtypes import accumulation_dtype
from fnn.initializers.initializer import Initializer, multiplied, needs_key, rounded

# What is left of the deviation of N(0, 1) when it is cut off at ±2: √(1 - 4 φ(2) / (Φ(2) - Φ(-2))).
TRUNCATED = math.sqrt(
    1 - 4 * math.exp(-2) / math.sqrt(2 * math.pi) / math.erf(math.sqrt(2))
)  # 0.8796


def normal(stddev: float) -> Initializer:
    """Independent draws of N(0, stddev²), whatever the shape.

    Raises:
      ValueError: the deviation is negative or not finite.
    """
    _check_deviation("normal", stddev)

    def initializer(
        key: jax.Array | None, shape: tuple[int, ...], dtype: Any, groups: int = 1
    ) -> jax.Array:
        del groups  # the deviation is given
        return draw_normal(key, shape, dtype, stddev)

    return initializer


def uniform(low: float, high: float) -> Initializer:
    """Independent draws between `low` and `high`, of variance (high - low)² / 12.

    Raises:
      ValueError: `low` is not below `high`, or one is not finite.
    """
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise ValueError(f"uniform: expected finite low < high, got {low} and {high}")

    def initializer(
        key: jax.Array | None, shape: tuple[int, ...], dtype: Any, groups: int = 1
    ) -> jax.Array:
        del groups  # the limits are given
        return draw_uniform(key, shape, dtype, low, high)

    return initializer


def truncated_normal(stddev: float) -> Initializer:
    """A normal law without its tails, whose deviation after the cut is `stddev`.

    A normal number beyond two deviations is drawn again, which alone would leave 0.88 of the deviation;
    so the law that is cut has ``stddev / 0.8796``, and no draw is larger than 2.27 · stddev.

    Raises:
      ValueError: the deviation is negative or not finite.
    """
    _check_deviation("truncated_normal", stddev)

    def initializer(
        key: jax.Array | None, shape: tuple[int, ...], dtype: Any, groups: int = 1
    ) -> jax.Array:
        del groups  # the deviation is given
        unit = random.truncated_normal(needs_key(key), shape, accumulation_dtype(dtype))
        return multiplied(unit, stddev / TRUNCATED, dtype)

    return initializer


def _check_deviation(name: str, stddev: float) -> None:
    if not (math.isfinite(stddev) and stddev >= 0):
        raise ValueError(f"{name}: expected a deviation finite and at least 0, got {stddev}")


def draw_normal(
    key: jax.Array | None, shape: tuple[int, ...], dtype: Any, stddev: float
) -> jax.Array:
    """Draws of N(0, stddev²), in float32 at least before they are rounded to the dtype."""
    wide = accumulation_dtype(dtype)
    return rounded(random.normal(needs_key(key), shape, wide, stddev), dtype)


def draw_uniform(
    key: jax.Array | None, shape: tuple[int, ...], dtype: Any, low: float, high: float
) -> jax.Array:
    """Draws between `low` and `high`, in float32 at least before they are rounded to the dtype."""
    wide = accumulation_dtype(dtype)
    return rounded(random.uniform(needs_key(key), shape, wide, low, high), dtype)
