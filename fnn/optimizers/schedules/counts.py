"""What all schedules do with counts and values: check them, and go from one value to another."""

import math
from collections.abc import Callable, Iterable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fnn.layer import Array

Value = float | Array  # a number, or a traced scalar
MOST = 2**31 - 1  # the largest count of an int32


def check_value(schedule: str, name: str, value: Value) -> Value:
    """The value as a Python float, or as a scalar of the default dtype where it is traced.

    Raises:
      ValueError: it is negative, not finite, or no scalar.
    """
    if isinstance(value, jax.core.Tracer):
        if value.shape != ():
            raise ValueError(
                f"{schedule}: expected {name} to be one number, got shape {value.shape}; "
                "map over several with jax.vmap"
            )
        return value.astype(float)
    if not _is_number(value):
        raise ValueError(f"{schedule}: expected {name} to be one number, got {value!r}")
    if not (math.isfinite(value) and value >= 0):
        raise ValueError(f"{schedule}: expected {name} finite and at least 0, got {value}")
    return float(value)


def check_end(schedule: str, start: Value, final: Value, *, falls: bool = True) -> None:
    """Refuse an end on the far side of the start, which every count would have at once.

    Raises:
      ValueError: `final` is above `start`, or below it where the schedule rises; traced ones pass.
    """
    if not (isinstance(start, float) and isinstance(final, float)):
        return
    if final > start if falls else final < start:
        side = "at most" if falls else "at least"
        raise ValueError(f"{schedule}: expected final {side} start, {start}, got {final}")


def check_factor(schedule: str, name: str, factor: Value, low: float, high: float) -> float:
    """The factor as a float.

    Raises:
      ValueError: it is not above `low` and at most `high`, or it is traced.
    """
    if isinstance(factor, jax.core.Tracer):
        raise ValueError(
            f"{schedule}: expected {name} to be known when the schedule is built, got a traced one; "
            "only values, such as a peak, may be traced"
        )
    if not (_is_number(factor) and low < factor <= high):
        upper = "finite" if high == math.inf else f"at most {high:g}"
        raise ValueError(f"{schedule}: expected {name} above {low:g} and {upper}, got {factor!r}")
    if factor == math.inf:
        raise ValueError(f"{schedule}: expected {name} finite, got inf")
    return float(factor)


def _is_number(value: Any) -> bool:
    """Whether it is one real number, of Python, NumPy or jax; truth values and text are none."""
    if np.shape(value) != () or isinstance(value, str):
        return False
    kind = np.asarray(value).dtype
    return bool(jnp.issubdtype(kind, jnp.integer) or jnp.issubdtype(kind, jnp.floating))


def check_steps(schedule: str, name: str, steps: int, least: int = 1) -> int:
    """The number of steps as an int.

    Raises:
      ValueError: it is no integer, below `least`, or more than an int32 counts.
    """
    if isinstance(steps, bool) or not isinstance(steps, int | np.integer):
        raise ValueError(f"{schedule}: expected {name} to be an integer, got {steps!r}")
    if not least <= steps <= MOST:
        raise ValueError(
            f"{schedule}: expected {name} of at least {least} and at most 2³¹ - 1, got {steps}"
        )
    return int(steps)


def check_boundaries(schedule: str, boundaries: Iterable[int], least: int = 1) -> list[int]:
    """The counts as ints.

    Raises:
      ValueError: one is no integer, or they do not rise.
    """
    counts = [check_steps(schedule, "a boundary", count, least) for count in boundaries]
    if sorted(set(counts)) != counts:
        raise ValueError(f"{schedule}: expected boundaries that rise, got {counts}")
    return counts


def counted(count: Any) -> Array:
    """The count as an integer of the default width, or as a float of at least that.

    Raises:
      TypeError: it is neither.
    """
    count = jnp.asarray(count)
    if jnp.issubdtype(count.dtype, jnp.integer):
        return count.astype(int)
    if not jnp.issubdtype(count.dtype, jnp.floating):
        raise TypeError(f"expected a count of steps, an integer or a float, got {count.dtype}")
    return count.astype(float)


def remaining(count: Array, start: int, steps: int) -> Array:
    """From 1 at `start`, and before it, straight to 0 at `start + steps`, and after it.

    The steps that remain are counted, not those that are over, so that what is nearly 0 has all digits.
    """
    return jnp.clip(steps - (count - start), 0, steps).astype(float) / steps


def between(start: Value, end: Value, share: Array) -> Array:
    """`start` at share 1, `end` at share 0; both exactly."""
    return start * share + end * (1 - share)


def power_of(factor: float, exponent: Array) -> Array:
    """``factor ** exponent``, with the logarithm of a factor close to 1 taken in all its digits."""
    return jnp.exp(exponent * math.log(factor))


def half_cosine(share: Array) -> Array:
    """``(1 - cos(π · share)) / 2``, written so that it is 0 and 1 exactly at 0 and 1."""
    return jnp.square(jnp.sin(share * (math.pi / 2)))


def _linear(share: Array) -> Array:
    return share


def _root(share: Array) -> Array:
    """``1 - √(1 - share)``, without the cancellation near 0."""
    return share / (1 + jnp.sqrt(1 - share))


_SHAPES = {"linear": _linear, "cosine": half_cosine, "root": _root}


def shape_of(schedule: str, shape: str, allowed: tuple[str, ...]) -> Callable[[Array], Array]:
    """The function from what remains of a phase to the share that its first value has.

    Raises:
      ValueError: it is none of those allowed.
    """
    if shape not in allowed:
        raise ValueError(f"{schedule}: expected shape to be one of {list(allowed)}, got {shape!r}")
    return _SHAPES[shape]
