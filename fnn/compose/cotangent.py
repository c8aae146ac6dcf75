"""What a loop has to know of its input: where a cotangent is due, and of which dtype."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from fnn.layer import Array, PyTree, Static


class Outline(NamedTuple):
    """The tree and the dtypes of an input, without its values; hashable, so that a cache can hold it."""

    tree: Any  # jax.tree_util.PyTreeDef
    dtypes: tuple[Any, ...]


def outline(x: PyTree) -> Static[Outline]:
    """The outline of `x`, whose leaves have dtypes."""
    leaves, tree = jax.tree.flatten(x)
    return Static(Outline(tree, tuple(jnp.dtype(leaf.dtype) for leaf in leaves)))


def cotangent(dy: PyTree, like: Static[Outline]) -> PyTree:
    """`dy` in the dtypes of what it is the cotangent of, and None where that is of integers.

    A loop carries one dtype from end to end, but dy may come in another than y's, or as NumPy's.
    """

    def leaf(given: Any, dtype: Any) -> Array | None:
        return jnp.asarray(given, dtype) if jnp.issubdtype(dtype, jnp.inexact) else None

    tree, dtypes = like.value
    given = tree.flatten_up_to(dy)
    return tree.unflatten([leaf(g, dtype) for g, dtype in zip(given, dtypes, strict=True)])
