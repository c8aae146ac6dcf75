"""Trees of arrays as vectors: what a method needs that looks at all parameters at once."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fnn.dtypes import accumulation_dtype
from fnn.layer import Array, PyTree


def scalar_dtype(params: PyTree) -> Any:
    """The dtype of values, norms and step lengths: the widest of the parameters', at least float32."""
    dtypes = [accumulation_dtype(leaf.dtype) for leaf in jax.tree.leaves(params)]
    return max(dtypes, key=lambda dtype: dtype.itemsize, default=jnp.dtype(jnp.float32))


def wide(tree: PyTree) -> PyTree:
    """The leaves in float32 or wider."""
    return jax.tree.map(lambda leaf: leaf.astype(accumulation_dtype(leaf.dtype)), tree)


def dot(a: PyTree, b: PyTree, dtype: Any) -> Array:
    """Σ a b over all leaves, as a scalar of `dtype`.

    Products and sums, not a `dot` operation, which accelerators may compute with fewer digits.
    """
    total = jnp.zeros((), dtype)
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        wider = accumulation_dtype(x.dtype)
        total = total + (x.astype(wider) * y.astype(wider)).sum().astype(dtype)
    return total


def norm(tree: PyTree, dtype: Any) -> Array:
    """√Σ x² over all leaves, as a scalar of `dtype`."""
    return jnp.sqrt(dot(tree, tree, dtype))


def scaled(scale: Array, tree: PyTree) -> PyTree:
    """``scale · x``, each leaf in float32 or wider."""
    return jax.tree.map(lambda x: scale.astype(x.dtype) * x, wide(tree))


def add_scaled(tree: PyTree, scale: Array, other: PyTree) -> PyTree:
    """``x + scale · y``, for leaves that are wide."""
    return jax.tree.map(lambda x, y: x + scale.astype(x.dtype) * y, tree, other)


def choose(condition: Array, a: PyTree, b: PyTree) -> PyTree:
    """``a`` where the scalar condition holds, else ``b``, leaf by leaf."""
    return jax.tree.map(lambda x, y: jnp.where(condition, x, y), a, b)


def flattened(tree: PyTree, dtype: Any) -> Array:
    """All leaves in order as one vector of `dtype`."""
    leaves = [leaf.astype(dtype).reshape(-1) for leaf in jax.tree.leaves(tree)]
    return jnp.concatenate(leaves) if leaves else jnp.zeros(0, dtype)


def unflattened(vector: Array, params: PyTree) -> PyTree:
    """The tree like params whose leaves, at least float32, hold the vector in order."""
    leaves, structure = jax.tree.flatten(params)
    ends = np.cumsum([leaf.size for leaf in leaves])[:-1].tolist()
    parts = jnp.split(vector, ends) if leaves else []
    return jax.tree.unflatten(
        structure,
        [
            part.reshape(leaf.shape).astype(scalar_dtype(leaf))
            for part, leaf in zip(parts, leaves, strict=True)
        ],
    )
