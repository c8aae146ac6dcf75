"""A layer around which its input is carried: the skip connection of He et al. (2016).

y = shortcut(x) + body(x)        dx = shortcutᵀ(dy) + bodyᵀ(dy)
"""

from collections.abc import Mapping
from types import MappingProxyType

import jax

from fnn.compose.child import check_children, describe, within
from fnn.compose.parallel import add_trees
from fnn.layer import Array, Key, Layer, PyTree, as_arrays, output_shape
from fnn.random import child_key


def residual(body: Layer, shortcut: Layer | None = None) -> Layer:
    """Forward: ``y = x + body(x)``, or ``shortcut(x) + body(x)`` where the shapes differ.

    Backward: the sum has the same cotangent for both terms, so ``dx = dy + body.backward(dy)``.
    Shapes: x as both take it; y as both return it, and as x without a shortcut.
    Cache: the caches of `body` and `shortcut`. Source: He, Zhang, Ren, Sun (2016).

    Raises:
      ValueError: the two terms differ in shape or dtype.
    """
    parts = {"body": body} if shortcut is None else {"body": body, "shortcut": shortcut}

    def init(key: Key, x: PyTree) -> tuple[PyTree, PyTree]:
        params, state, y = {}, {}, {"shortcut": jax.eval_shape(as_arrays, x)}
        for name, part in parts.items():
            with within(name, x):
                params[name], state[name] = part.init(child_key(key, name), x)
                y[name] = output_shape(part, params[name], state[name], x)
        _check_terms(y["body"], y["shortcut"])
        return params, state

    def forward(
        params: PyTree, state: PyTree, x: PyTree, key: Key
    ) -> tuple[PyTree, PyTree, PyTree]:
        check_children("residual", "params", params, parts)
        check_children("residual", "state", state, parts)
        y, new_state, cache = {"shortcut": as_arrays(x)}, {}, {}
        for name, part in parts.items():
            with within(name, x):
                y[name], new_state[name], cache[name] = part.forward(
                    params[name], state[name], x, child_key(key, name)
                )
        _check_terms(y["body"], y["shortcut"])
        return add_trees(y["shortcut"], y["body"]), new_state, cache

    def backward(params: PyTree, cache: PyTree, dy: PyTree) -> tuple[PyTree, PyTree]:
        check_children("residual", "cache", cache, parts)
        dparams, dx = {}, {}
        for name, part in parts.items():
            with within(name, dy):
                dparams[name], dx[name] = part.backward(params[name], cache[name], dy)
        if shortcut is None:  # dy as it came may be of another dtype than x
            dx["shortcut"] = jax.tree.map(_like, as_arrays(dy), dx["body"])
        return dparams, add_trees(dx["shortcut"], dx["body"])

    def predict(params: PyTree, state: PyTree, x: PyTree) -> PyTree:
        check_children("residual", "params", params, parts)
        check_children("residual", "state", state, parts)
        y = {"shortcut": as_arrays(x)}
        for name, part in parts.items():
            with within(name, x):
                y[name] = part.predict(params[name], state[name], x)
        _check_terms(y["body"], y["shortcut"])
        return add_trees(y["shortcut"], y["body"])

    def rebuild(parts: Mapping[str, Layer]) -> Layer:
        return residual(**parts)

    return Layer("residual", init, forward, backward, predict, MappingProxyType(parts), rebuild)


def _like(dy: Array, dx: Array) -> Array:
    return dy.astype(dx.dtype)


def _check_terms(body: PyTree, shortcut: PyTree) -> None:
    """A sum that broadcast would hide a wrong width."""
    if describe(body) != describe(shortcut):
        raise ValueError(
            f"residual: expected the body to return {describe(shortcut)} as the shortcut does, "
            f"got {describe(body)}; give a `shortcut` that maps x to the body's shape"
        )
