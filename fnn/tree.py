"""Names for the leaves of a tree: `hidden/w`, the same in every report, checkpoint and rule."""

from collections.abc import Callable
from typing import Any

import jax

from fnn.layer import PyTree


def paths(tree: PyTree, is_leaf: Callable[[Any], bool] | None = None) -> list[tuple[str, Any]]:
    """(path, leaf) of every leaf, in the order of `jax.tree.leaves`.

    A path is the keys, field names and positions on the way, joined by ``/``, such as ``hidden/w`` or
    ``blocks/0/b``; that of a tree which is itself a leaf is the empty string. With `is_leaf`, what it
    holds for is a leaf too, as in `jax.tree.leaves`.
    """
    flat, _ = jax.tree_util.tree_flatten_with_path(tree, is_leaf)
    return [(jax.tree_util.keystr(path, simple=True, separator="/"), leaf) for path, leaf in flat]
