"""What an initializer is, the fans of a kernel, and a factor for any of them."""

import math
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from fnn.dtypes import accumulation_dtype


class Initializer(Protocol):
    """Draws one parameter. `groups` is that of a grouped convolution, 1 elsewhere."""

    def __call__(
        self, key: jax.Array | None, shape: tuple[int, ...], dtype: Any, groups: int = 1
    ) -> jax.Array: ...


def fans(shape: tuple[int, ...], groups: int = 1) -> tuple[float, float]:
    """(fan_in, fan_out) of a kernel: the terms in one output, the outputs that one input reaches.

    Raises:
      ValueError: the shape has no input and output axis.
    """
    if len(shape) < 2:
        raise ValueError(f"expected a kernel of shape (…, inputs, outputs), got {shape}")
    window = math.prod(shape[:-2])
    return window * shape[-2], window * shape[-1] / groups


def scaled(initializer: Initializer, factor: float) -> Initializer:
    """What `initializer` draws, times a factor, such as a `gain`.

    Raises:
      ValueError: the factor is not finite.
    """
    if not math.isfinite(factor):
        raise ValueError(f"scaled: expected a finite factor, got {factor}")

    def initializer_scaled(
        key: jax.Array | None, shape: tuple[int, ...], dtype: Any, groups: int = 1
    ) -> jax.Array:
        drawn = initializer(key, shape, accumulation_dtype(dtype), groups)
        return multiplied(drawn, factor, dtype)

    return initializer_scaled


def needs_key(key: jax.Array | None) -> jax.Array:
    """The key, if there is one.

    Raises:
      ValueError: there is none.
    """
    if key is None:
        raise ValueError("expected a key to draw parameters with, got None; pass jax.random.key(0)")
    return key


def multiplied(drawn: jax.Array, factor: float, dtype: Any) -> jax.Array:
    """What was drawn times a factor, and then rounded to the dtype."""
    if isinstance(drawn, jax.core.Tracer):
        return rounded(jnp.asarray(float(factor), drawn.dtype) * drawn, dtype)
    return on_device(drawn.dtype.type(factor) * np.asarray(drawn), dtype)


def rounded(drawn: jax.Array, dtype: Any) -> jax.Array:
    """What was drawn in float32, in a dtype that may be narrower.

    Draws in bfloat16 itself would be of 128 values, whose mean is off by a hundredth of the deviation.
    """
    if drawn.dtype == jax.dtypes.canonicalize_dtype(dtype):
        return drawn
    if isinstance(drawn, jax.core.Tracer):
        return drawn.astype(dtype)
    return on_device(np.asarray(drawn), dtype)


def on_device(w: np.ndarray, dtype: Any) -> jax.Array:
    """The array in this dtype, rounded by NumPy: a change of dtype in jax compiles a program a shape.

    So does jnp.asarray where it is not told the dtype.
    """
    dtype = jax.dtypes.canonicalize_dtype(dtype)
    return jnp.asarray(w.astype(dtype), dtype)
