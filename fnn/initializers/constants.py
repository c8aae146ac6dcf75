"""Initializers that draw nothing: zeros, ones, a constant, the identity."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fnn.initializers.initializer import Initializer, fans, on_device


def zeros(key: jax.Array | None, shape: tuple[int, ...], dtype: Any, groups: int = 1) -> jax.Array:
    """All zero: right for biases. As kernels, it leaves all units of a layer alike for ever."""
    del groups  # nothing is scaled
    return _filled(key, shape, dtype, 0)


def ones(key: jax.Array | None, shape: tuple[int, ...], dtype: Any, groups: int = 1) -> jax.Array:
    """All one: right for the scale of a normalization."""
    del groups  # nothing is scaled
    return _filled(key, shape, dtype, 1)


def constant(value: float) -> Initializer:
    """All of one value: for a bias that is to start elsewhere, such as that of a forget gate at 1.

    Raises:
      ValueError: the value is not finite.
    """
    if not math.isfinite(value):
        raise ValueError(f"constant: expected a finite value, got {value}")

    def initializer(
        key: jax.Array | None, shape: tuple[int, ...], dtype: Any, groups: int = 1
    ) -> jax.Array:
        del groups  # nothing is scaled
        return _filled(key, shape, dtype, value)

    return initializer


def _filled(key: jax.Array | None, shape: tuple[int, ...], dtype: Any, value: float) -> jax.Array:
    """By NumPy, as jax would compile a program a shape; by jax where the key is traced already."""
    if isinstance(key, jax.core.Tracer):
        return jnp.full(shape, value, dtype)
    return on_device(np.full(shape, value, dtype), dtype)


def identity(
    key: jax.Array | None, shape: tuple[int, ...], dtype: Any, groups: int = 1
) -> jax.Array:
    """The map that changes nothing: y = x where the widths are equal, else as much of it as fits.

    ``w[i, j] = 1`` if i = j, else 0; of a convolution's kernel, at the middle of the window (with an even
    window, the one that "SAME" puts on the pixel itself), and in each group. Source: Le, Jaitly, Hinton
    (2015); for convolutions, Zagoruyko, Komodakis (2017), who call it Dirac.

    Raises:
      ValueError: the shape has no input and output axis.
    """
    del key  # nothing is drawn
    fans(shape)
    inputs, outputs = shape[-2], shape[-1] // groups
    w = np.zeros(shape, dtype)
    w[middle(shape)] = np.tile(np.eye(inputs, outputs, dtype=dtype), groups)
    return on_device(w, dtype)


def middle(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Where in the window of a kernel the pixel itself lies under padding "SAME"."""
    return tuple((size - 1) // 2 for size in shape[:-2])
