"""Euclidean norms of gradients and parameters, in float32 or wider, which neither overflow nor underflow.

A norm is a pair (m, r) that stands for m · r: with m about the largest element, squares stay within
range however large the elements are, and so does what is divided by the norm, even where m · r itself
would overflow. An element that is not finite makes r NaN, and so all that is computed from it.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from fnn.dtypes import accumulation_dtype, computing_dtype
from fnn.layer import Array

Norm = tuple[Array, Array]


def norm(arrays: Sequence[Array]) -> Norm:
    """Of all elements of all arrays together, in the widest of their dtypes; two scalars."""
    if not arrays:
        return jnp.asarray(np.ones(())), jnp.asarray(np.zeros(()))
    dtype = accumulation_dtype(computing_dtype(*arrays))
    wide = [array.astype(dtype) for array in arrays]
    plain = jnp.sqrt(_sum_of_squares(wide))
    # Mostly, the squares are within range, and one pass over the elements is enough.
    ordinary = (plain > 1e6 * float(jnp.finfo(dtype).tiny) ** 0.5) & (plain < jnp.inf)
    return jax.lax.cond(ordinary, _plain, _scaled, plain, wide)


def _plain(plain: Array, wide: list[Array]) -> Norm:
    del wide
    return jnp.ones_like(plain), plain


def _scaled(plain: Array, wide: list[Array]) -> Norm:
    del plain
    m = jnp.stack([jnp.max(jnp.abs(array), initial=0) for array in wide]).max()
    m = _divisor(m)
    return m, jnp.sqrt(_sum_of_squares([array / m for array in wide]))


def unit_norms(array: Array, axis: int | Sequence[int] | None = None) -> Norm:
    """Of each unit's weights; two arrays with an axis of length 1 for each that is summed over.

    Without `axis`, the last axis of an array of two and more dimensions counts the units, as in the
    weights (in, out) of a linear layer and the kernel (height, width, in, out) of a convolution: the norm
    is over all others. A vector or scalar is one unit.
    """
    wide = array.astype(accumulation_dtype(array.dtype))
    axes = unit_axes(array, axis)
    m = _divisor(jnp.max(jnp.abs(wide), axis=axes, keepdims=True, initial=0))
    return m, jnp.sqrt(jnp.square(wide / m).sum(axis=axes, keepdims=True))


def unit_axes(array: Array, axis: int | Sequence[int] | None) -> tuple[int, ...]:
    """The axes that one unit's weights lie along."""
    if axis is None:
        return tuple(range(array.ndim if array.ndim < 2 else array.ndim - 1))
    return (axis,) if isinstance(axis, int) else tuple(axis)


def shrink_to(limit: Array, g: Array, of: Norm) -> Array:
    """``min(1, limit / norm) · g``."""
    m, r = of
    within, one = r <= limit / m, jnp.ones_like(r)
    # Two factors, because their product would underflow where the norm is about to overflow; and two
    # of the norm's few numbers, so that the elements of g are only multiplied.
    return g * jnp.where(within, one, 1 / m) * jnp.where(within, one, limit / r)


def _divisor(largest: Array) -> Array:
    """About the largest element, but such that its reciprocal, which XLA multiplies by, is ordinary."""
    bound = 2.0 ** int(0.8 * jnp.finfo(largest.dtype).maxexp)
    within = jnp.clip(largest, 1 / bound, bound)
    return jnp.where(largest < jnp.inf, within, jnp.full_like(largest, jnp.nan))


def _sum_of_squares(arrays: Sequence[Array]) -> Array:
    return jnp.stack([jnp.square(array).sum() for array in arrays]).sum()
