"""What a container does for `fnn.tap`, which watches the layers inside it.

A watched leaf layer puts what it saw into its cache (`Kept`) and into its parameter gradients (`Told`).
Most containers hand both on unawares. Those that run a child in a loop say so by a cache of type
`Looped`, those that add something to the cache of what they wrap by one of type `Around`; and those
that add, move, convert or drop caches or gradients leave them as they are while `watched` says so.
"""

from typing import Any, NamedTuple

import jax

from fnn.compose.stacking import Distinct
from fnn.layer import PyTree, Static


class Kept(NamedTuple):
    """The cache of a watched leaf: its own, and what it was called with."""

    cache: PyTree
    seen: tuple[PyTree, PyTree, PyTree, PyTree, PyTree]  # params, state, key, x, y


class Told(NamedTuple):
    """The `dparams` of a watched leaf: its own, and the two cotangents."""

    dparams: PyTree
    dy: PyTree
    dx: PyTree


class Looped(NamedTuple):
    """The cache of a container that calls its children once a round, in this order or from the end."""

    children: Distinct  # of the caches by name; what is kept has the rounds for its first axis
    fixed: list[Any]  # what is the same in all rounds: known to `children`
    rounds: Static[int]
    backwards: Static[bool]
    own: PyTree  # what the container's backward needs besides


class Around(NamedTuple):
    """The cache of a layer that wraps another one: that of the other, and what else is needed."""

    cache: PyTree
    own: PyTree


def watched(tree: PyTree) -> bool:
    """Whether there is a watched layer's entry in this cache, or in these parameter gradients."""
    return any(map(_of_watched, jax.tree.leaves(tree, is_leaf=_of_watched)))


def unwatched(dparams: PyTree) -> PyTree:
    """The parameter gradients alone."""
    return jax.tree.map(
        lambda part: part.dparams if isinstance(part, Told) else part,
        dparams,
        is_leaf=_of_watched,
    )


def _of_watched(part: object) -> bool:
    return isinstance(part, Kept | Told)
