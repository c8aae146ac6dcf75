"""Sequences that end before their axis of time does: which step is made, what else stands there."""

from typing import Any

import jax
import jax.numpy as jnp

from fnn.layer import Array, PyTree
from fnn.layers.lengths import Counted, check_lengths, counted


def ends_of(name: str, lengths: Any, steps: int) -> Counted | None:
    """Where sequences end; one whose length means nothing, inside of `jit`, at once.

    Raises:
      ValueError: a length is out of range.
    """
    if lengths is None:
        return None
    check_lengths(name, lengths, steps)
    given, valid = counted(lengths, steps)
    return Counted(jnp.where(valid, given, 0), valid)


def active(ends: Counted, t: Array) -> Array:
    """(N,): whether step t is made."""
    return t.astype(ends.lengths.dtype) < ends.lengths


def padded(ends: Counted, xs: PyTree) -> PyTree:
    """Zeros beyond the ends of sequences with time first: a NaN there would pass through 0 times it."""

    def leaf(a: Array) -> Array:
        steps = jnp.arange(a.shape[0], dtype=ends.lengths.dtype)
        return where(steps[:, None] < ends.lengths[None], a, jnp.zeros_like(a))

    return jax.tree.map(leaf, xs)


def or_nan(ends: Counted | None, tree: PyTree) -> PyTree:
    """NaN for the sequences whose length means nothing, in the leaves that can hold one."""
    if ends is None:
        return tree
    valid = ends.valid

    def leaf(a: Array) -> Array:
        return where(valid, a, jnp.nan) if jnp.issubdtype(a.dtype, jnp.inexact) else a

    return jax.tree.map(leaf, tree)


def or_zero(ends: Counted | None, tree: PyTree) -> PyTree:
    """The transpose of `or_nan`."""
    if ends is None:
        return tree
    valid = ends.valid
    return jax.tree.map(lambda a: where(valid, a, jnp.zeros_like(a)), tree)


def where(which: Array, a: Array, b: Array | float) -> Array:
    """Elements of a or b, like a or a number, chosen along the first axes; the last is the batch.

    Raises:
      ValueError: they have another batch; one of 1 would be spread over all sequences.
    """
    if a.shape[: which.ndim] != which.shape:
        raise ValueError(
            f"over_time: expected the batch of {which.shape[-1]} lengths for the first axis of every "
            f"leaf, got {a.shape[which.ndim - 1 :]} in a step"
        )
    return jnp.where(which.reshape(which.shape + (1,) * (a.ndim - which.ndim)), a, b)
