"""The leaf layers of a network that hold weights: found by path, and given others."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np

from fnn.compose.frozen import FrozenState
from fnn.layer import Layer, PyTree


class Place(NamedTuple):
    """A leaf layer and what it holds."""

    path: str  # block_1/conv_1; of the blocks of a `repeat`: blocks/block[3]/conv_1
    layer: Layer
    params: PyTree
    state: PyTree

    def __str__(self) -> str:
        return f"{self.path or '(network)'} ({self.layer.name})"


Filling = Callable[[Place], tuple[PyTree, PyTree]]  # a place -> the params and state to put there


def places(net: Layer, params: PyTree, state: PyTree) -> list[Place]:
    """The leaf layers that have parameters or a state, in the network's order."""
    found: list[Place] = []

    def note(place: Place) -> tuple[PyTree, PyTree]:
        if jax.tree.leaves((place.params, place.state)):
            found.append(place)
        return place.params, place.state

    filled(note, net, params, state)
    return found


def filled(
    function: Filling, net: Layer, params: PyTree, state: PyTree, path: str = ""
) -> tuple[PyTree, PyTree]:
    """(params, state) with what `function` gives for every leaf layer.

    Raises:
      TypeError: a container's parameters are not held by the names of its parts.
    """
    if isinstance(state, FrozenState):
        return (), FrozenState(*filled(function, net, state.params, state.state, path))
    if not net.parts:
        return function(Place(path, net, params, state))
    if not isinstance(params, Mapping) or not isinstance(state, Mapping):
        raise TypeError(
            f"{path or net.name}: expected a container that holds the parameters and states of its "
            f"parts by name, got {type(params).__name__} and {type(state).__name__}"
        )
    if net.name.startswith("repeat("):
        return _rounds(function, net, params, state, path)
    new_params, new_state = dict(params), dict(state)
    for name, part in net.parts.items():
        below = f"{path}/{name}" if path else name
        new = filled(function, part, params.get(name, ()), state.get(name, ()), below)
        for tree, value in ((new_params, new[0]), (new_state, new[1])):
            if name in tree:
                tree[name] = value
    return new_params, new_state


def _rounds(
    function: Filling, net: Layer, params: PyTree, state: PyTree, path: str
) -> tuple[PyTree, PyTree]:
    """A `repeat`, block by block: its weights have a first axis over them."""
    ((name, block),) = net.parts.items()
    stacked = params[name], state[name]
    sizes = {np.shape(leaf)[0] for leaf in jax.tree.leaves(stacked)}
    each = []
    for i in range(min(sizes, default=0)):
        own = jax.tree.map(partial(_round, i), stacked)
        below = f"{path}/{name}[{i}]" if path else f"{name}[{i}]"
        each.append(filled(function, block, own[0], own[1], below))
    if not each:
        return params, state
    new = jax.tree.map(lambda *leaves: np.stack([np.asarray(leaf) for leaf in leaves]), *each)
    return {**params, name: new[0]}, {**state, name: new[1]}


def _round(i: int, leaf: Any) -> np.ndarray:
    return np.asarray(leaf)[i]


def array(value: Any) -> Any:
    """A weight as a NumPy array; untyped, as it will stand in our named tuples until it is loaded."""
    return np.asarray(value)


def is_transposed(place: Place) -> bool:
    """Whether a place with the parameters of a convolution is a transposed one."""
    return "transposed_convolution(" in place.layer.name


def groups_of_transposed(place: Place) -> int:
    """The groups of a transposed convolution, which its weight does not show: it takes no other x.

    Raises:
      ValueError: it takes an x of no number of groups.
    """
    w = place.params.w
    inputs, features = w.shape[-2:]
    for groups in (g for g in range(1, features + 1) if features % g == 0):
        x = jax.ShapeDtypeStruct((1, *[64] * (w.ndim - 2), inputs * groups), w.dtype)
        try:
            jax.eval_shape(place.layer.predict, place.params, place.state, x)
        except ValueError:
            continue
        return groups
    raise ValueError(f"{place}: expected a layer that takes {inputs} channels a group")
