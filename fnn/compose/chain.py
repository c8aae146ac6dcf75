"""One layer after another.

    y = f_n(… f_2(f_1(x)))        dx = f_1ᵀ(f_2ᵀ(… f_nᵀ(dy)))

Parameters, state and cache are dictionaries by child name, so `params["hidden"].w` is how a person
reaches a weight and `hidden/w` is its path in every report.
"""

from collections.abc import Mapping
from types import MappingProxyType

from fnn.compose.child import check_children, name_children, within
from fnn.layer import Key, Layer, PyTree, output_shape
from fnn.random import child_key


def chain(*unnamed: Layer, **named: Layer) -> Layer:
    """The children applied in the order in which they are given; an empty chain is the identity.

    Forward: ``x`` runs through the children in order. Backward: ``dy`` runs through their backwards
    in reverse order. Shapes: each child takes what the one before it returns. Cache: the children's
    caches, by name. A child's key is derived from its name.
    Source: Linnainmaa (1976); for networks: Rumelhart, Hinton, Williams (1986).

    Args:
      unnamed: children that get names after their kind: `linear_1`, `relu_1`, `linear_2`, …
      named: children under names of your own; they follow the unnamed ones.

    Raises:
      TypeError, ValueError: a child is no Layer, or two share a name.
    """
    parts = name_children(unnamed, named)

    def init(key: Key, x: PyTree) -> tuple[PyTree, PyTree]:
        params, state = {}, {}
        for name, part in parts.items():
            with within(name, x):
                params[name], state[name] = part.init(child_key(key, name), x)
                x = output_shape(part, params[name], state[name], x)
        return params, state

    def forward(
        params: PyTree, state: PyTree, x: PyTree, key: Key
    ) -> tuple[PyTree, PyTree, PyTree]:
        check_children("chain", "params", params, parts)
        check_children("chain", "state", state, parts)
        new_state, cache = {}, {}
        for name, part in parts.items():
            with within(name, x):
                x, new_state[name], cache[name] = part.forward(
                    params[name], state[name], x, child_key(key, name)
                )
        return x, new_state, cache

    def backward(params: PyTree, cache: PyTree, dy: PyTree) -> tuple[PyTree, PyTree]:
        check_children("chain", "cache", cache, parts)
        dparams = {}
        for name, part in reversed(parts.items()):
            with within(name, dy):
                dparams[name], dy = part.backward(params[name], cache[name], dy)
        return dparams, dy

    def predict(params: PyTree, state: PyTree, x: PyTree) -> PyTree:
        check_children("chain", "params", params, parts)
        check_children("chain", "state", state, parts)
        for name, part in parts.items():
            with within(name, x):
                x = part.predict(params[name], state[name], x)
        return x

    def rebuild(parts: Mapping[str, Layer]) -> Layer:
        return chain(**parts)

    return Layer("chain", init, forward, backward, predict, MappingProxyType(parts), rebuild)
