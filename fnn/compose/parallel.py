"""Several layers on the same input.

y = {name: f_name(x)}        dx = Σ_name f_nameᵀ(dy_name)
"""

from collections.abc import Mapping
from functools import reduce
from types import MappingProxyType

import jax

from fnn.compose.child import check_children, name_children, within
from fnn.layer import Key, Layer, PyTree
from fnn.random import child_key


def parallel(*unnamed: Layer, **named: Layer) -> Layer:
    """Every child applied to the same `x`; the output is a dictionary by child name.

    Forward: ``y[name] = f_name(x)``. Backward: an input that is used several times collects the sum
    of what each use sends back, so ``dx = Σ dx_name``. Shapes: x as every child takes it, y a dictionary
    of what each returns. Cache: the children's caches, by name. Source: Linnainmaa (1976).

    Raises:
      TypeError, ValueError: a child is no Layer, two share a name, or there is none.
    """
    parts = name_children(unnamed, named)
    if not parts:
        raise ValueError("parallel: expected at least one child, got none")

    def init(key: Key, x: PyTree) -> tuple[PyTree, PyTree]:
        params, state = {}, {}
        for name, part in parts.items():
            with within(name, x):
                params[name], state[name] = part.init(child_key(key, name), x)
        return params, state

    def forward(
        params: PyTree, state: PyTree, x: PyTree, key: Key
    ) -> tuple[PyTree, PyTree, PyTree]:
        check_children("parallel", "params", params, parts)
        check_children("parallel", "state", state, parts)
        y, new_state, cache = {}, {}, {}
        for name, part in parts.items():
            with within(name, x):
                y[name], new_state[name], cache[name] = part.forward(
                    params[name], state[name], x, child_key(key, name)
                )
        return y, new_state, cache

    def backward(params: PyTree, cache: PyTree, dy: PyTree) -> tuple[PyTree, PyTree]:
        check_children("parallel", "cache", cache, parts)
        check_children("parallel", "dy", dy, parts)
        dparams, dx = {}, {}
        for name, part in parts.items():
            with within(name, dy[name]):
                dparams[name], dx[name] = part.backward(params[name], cache[name], dy[name])
        return dparams, reduce(add_trees, dx.values())

    def predict(params: PyTree, state: PyTree, x: PyTree) -> PyTree:
        check_children("parallel", "params", params, parts)
        check_children("parallel", "state", state, parts)
        y = {}
        for name, part in parts.items():
            with within(name, x):
                y[name] = part.predict(params[name], state[name], x)
        return y

    def rebuild(parts: Mapping[str, Layer]) -> Layer:
        return parallel(**parts)

    return Layer("parallel", init, forward, backward, predict, MappingProxyType(parts), rebuild)


def add_trees(a: PyTree, b: PyTree) -> PyTree:
    """a + b, leaf by leaf; the `None` of an integer input stays None."""
    return jax.tree.map(lambda p, q: p + q, a, b)
