"""How parameters start: `initializer(key, shape, dtype) -> array`.

A kernel's last axis is its output, the one before it its input, and the axes before those are the
window of a convolution. So, with r the number of window positions,

    fan_in = r · shape[-2]        fan_out = r · shape[-1] / groups

where a grouped kernel's shape[-2] already is the number of inputs of one group.
"""

import math
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from fnn import random
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


def zeros(key: jax.Array | None, shape: tuple[int, ...], dtype: Any, groups: int = 1) -> jax.Array:
    """All zero: right for biases. As kernels, it leaves all units of a layer alike for ever."""
    del key, groups  # nothing is drawn, nothing is scaled
    return jnp.asarray(np.zeros(shape, dtype))  # jnp.zeros would compile a program a shape


def ones(key: jax.Array | None, shape: tuple[int, ...], dtype: Any, groups: int = 1) -> jax.Array:
    """All one: right for the scale of a normalization."""
    del key, groups  # nothing is drawn, nothing is scaled
    return jnp.asarray(np.ones(shape, dtype))


def normal(stddev: float) -> Initializer:
    """Independent draws of N(0, stddev²), whatever the shape."""

    def initializer(
        key: jax.Array | None, shape: tuple[int, ...], dtype: Any, groups: int = 1
    ) -> jax.Array:
        del groups  # the deviation is given
        return random.normal(_drawing(key), shape, dtype, stddev)

    return initializer


def xavier_normal(
    key: jax.Array | None, shape: tuple[int, ...], dtype: Any, groups: int = 1
) -> jax.Array:
    """N(0, 2 / (fan_in + fan_out)): keeps the variance of signals and of gradients (Glorot, 2010)."""
    fan_in, fan_out = fans(shape, groups)
    return random.normal(_drawing(key), shape, dtype, math.sqrt(2 / max(fan_in + fan_out, 1)))


def xavier_uniform(
    key: jax.Array | None, shape: tuple[int, ...], dtype: Any, groups: int = 1
) -> jax.Array:
    """U(−a, a) with a = √(6 / (fan_in + fan_out)): the same variance (Glorot, Bengio, 2010)."""
    fan_in, fan_out = fans(shape, groups)
    limit = math.sqrt(6 / max(fan_in + fan_out, 1))
    return random.uniform(_drawing(key), shape, dtype, -limit, limit)


def he_normal(
    key: jax.Array | None, shape: tuple[int, ...], dtype: Any, groups: int = 1
) -> jax.Array:
    """N(0, 2 / fan_in): a rectifier halves the variance, and the 2 restores it (He et al., 2015)."""
    fan_in, _ = fans(shape, groups)
    return random.normal(_drawing(key), shape, dtype, math.sqrt(2 / max(fan_in, 1)))


def orthogonal(
    key: jax.Array | None, shape: tuple[int, ...], dtype: Any, groups: int = 1
) -> jax.Array:
    """A random orthogonal matrix: it keeps the length of what it maps, however often (Saxe, 2014).

    The axes before the last are taken as one; of a matrix that is not square, the shorter rows or
    columns are orthonormal. Drawn uniformly: the Q of a normal matrix, with the signs of R's diagonal.

    Raises:
      ValueError: the shape has fewer than two axes, or there is no key.
    """
    del groups  # each group's kernel is a part of one orthogonal matrix
    fans(shape)
    rows, columns = math.prod(shape[:-1]), shape[-1]
    shape_of_q = (max(rows, columns), min(rows, columns))
    drawn = random.normal(_drawing(key), shape_of_q, accumulation_dtype(dtype))
    # On the host if that can be: a decomposition of every new shape would be a compilation each.
    numpy: Any = jnp if isinstance(drawn, jax.core.Tracer) else np
    q, r = numpy.linalg.qr(numpy.asarray(drawn))
    q = numpy.where(numpy.diagonal(r)[None] < 0, -q, q)
    return jnp.asarray((q if rows >= columns else q.T).reshape(shape), dtype)


def _drawing(key: jax.Array | None) -> jax.Array:
    """The key, if there is one.

    Raises:
      ValueError: there is none.
    """
    if key is None:
        raise ValueError("expected a key to draw parameters with, got None; pass jax.random.key(0)")
    return key
