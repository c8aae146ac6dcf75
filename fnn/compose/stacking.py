"""What a loop collects, without anything twice.

A loop stacks each leaf of what its body returns, and does not see that two of them are one array: the
output of an activation and the input of the layer after it would each take their own memory, and so
would the parameters of a block that is returned as it came.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax

from fnn.layer import PyTree, Static


class Plan(NamedTuple):
    """Where each leaf of a tree is found among the known leaves, followed by the kept ones."""

    tree: Any  # jax.tree_util.PyTreeDef
    places: tuple[int, ...]


class Distinct(NamedTuple):
    """A tree of which each array is kept once, and those that were known not at all."""

    kept: list[Any]
    plan: Static[Plan]


def distinct(tree: PyTree, known: Sequence[Any] = ()) -> Distinct:
    """`tree` for a loop to return, or to take; `known` are arrays that `restored` will be given too."""
    leaves, structure = jax.tree.flatten(tree)
    place_of = {id(leaf): place for place, leaf in enumerate(known)}
    kept: list[Any] = []
    places = []
    for leaf in leaves:
        if id(leaf) not in place_of:
            place_of[id(leaf)] = len(known) + len(kept)
            kept.append(leaf)
        places.append(place_of[id(leaf)])
    return Distinct(kept, Static(Plan(structure, tuple(places))))


def needed(once: Distinct, known: Sequence[Any]) -> list[Any]:
    """The known arrays that `restored` will look at; None, which takes no memory, for the others."""
    used = set(once.plan.value.places)
    return [array if place in used else None for place, array in enumerate(known)]


def restored(once: Distinct, known: Sequence[Any] = ()) -> PyTree:
    """The whole tree again; inside and outside of the loop alike."""
    structure, places = once.plan.value
    every = [*known, *once.kept]
    return structure.unflatten([every[place] for place in places])
