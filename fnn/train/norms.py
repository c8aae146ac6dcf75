"""Sizes of trees: whether all is finite, the global norm, and the distance of two gradients."""

from typing import Any

import jax
import jax.numpy as jnp

from fnn.dtypes import accumulation_dtype, computing_dtype
from fnn.layer import Array, PyTree


def smallest(tree: PyTree) -> Array | None:
    """The leaf with the fewest elements, but not none; None if there is no such leaf."""
    return min((leaf for leaf in jax.tree.leaves(tree) if leaf.size), key=_size, default=None)


def _size(leaf: Array) -> int:
    return leaf.size


def all_finite(tree: PyTree) -> Array:
    """Whether no floating leaf holds an infinity or a NaN."""
    finite = jnp.asarray(True)
    for leaf in jax.tree.leaves(tree):
        if jnp.issubdtype(leaf.dtype, jnp.inexact):
            finite = finite & jnp.isfinite(leaf).all()
    return finite


def global_norm(tree: PyTree) -> Array:
    """√Σ x² over all leaves, in float32 or wider."""
    total: Any = 0.0
    leaves = jax.tree.leaves(tree)
    dtype = accumulation_dtype(computing_dtype(*leaves)) if leaves else float
    for leaf in leaves:
        wide = leaf.astype(accumulation_dtype(leaf.dtype))
        # Column sums first, which are vectorized; `abs`, which changes nothing, keeps XLA:CPU from
        # merging the two sums into a single one and cutting that into several passes.
        # Not of a matrix that the leaf is reshaped to, for which several devices would have to gather it.
        columns = jnp.square(wide).sum(axis=tuple(range(leaf.ndim - 1)))
        total = total + jnp.abs(columns).sum().astype(dtype)
    return jnp.sqrt(total)


def gradient_distance(hand: PyTree, auto: PyTree) -> Array:
    """The largest relative distance, over the leaves, between two derivations of one gradient.

    For a leaf, ``‖hand - auto‖ / max(‖auto‖, ‖all of auto‖ / 100)``: the floor keeps a leaf whose true
    gradient is 0 (a bias before a batch norm) from dividing rounding by rounding.
    """
    floor = global_norm(auto) / 100
    distances = [
        global_norm(h - a).astype(floor.dtype)
        / jnp.maximum(jnp.maximum(global_norm(a).astype(floor.dtype), floor), 1e-30)
        for h, a in zip(jax.tree.leaves(hand), jax.tree.leaves(auto), strict=True)
    ]
    return jnp.stack(distances).max() if distances else jnp.zeros((), jnp.float32)
