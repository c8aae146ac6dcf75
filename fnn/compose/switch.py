"""One of several layers, chosen by an index: only that one is evaluated.

y = f_i(x)        dx = f_iᵀ(dy)
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from fnn.compose.child import check_children, describe, name_children, within
from fnn.dtypes import label_dtype
from fnn.layer import Array, Key, Layer, PyTree, as_arrays, output_shape
from fnn.random import child_key


class ConditionalCache(NamedTuple):
    """Which branch it was, and the caches of all, of which those not taken are blank."""

    taken: Array  # int32, the number of the branch; that of branches for an index out of range
    branches: dict[str, PyTree]


def conditional(*unnamed: Layer, **named: Layer) -> Layer:
    """The branch with the number that comes with x; the others cost no time.

    x is the tuple ``(index, value)`` of an integer and what the branches take. Forward:
    ``y = f_i(value)`` with ``i = index``, by `jax.lax.switch`. Backward: ``dvalue = f_iᵀ(dy)``; None
    for the index, and zeros for the parameters of the other branches. Shapes: index (); all branches
    return one tree of shapes and dtypes. Cache: the index, and room for the caches of all branches,
    since which of them is needed is known only as the program runs. Under `vmap` with an index each,
    all branches are evaluated and one is selected; for a choice by element see `layers.switch`.
    Source: Bengio, Léonard, Courville (2013), for the name, conditional computation.

    Raises:
      TypeError: x is no such pair, the index is no integer, or a child is no Layer.
      ValueError: there is no branch, or two return different shapes; an index out of range. Inside
        `jit`, where its value cannot be looked at, such an index gives NaN.
    """
    parts = name_children(unnamed, named)
    if not parts:
        raise ValueError("conditional: expected at least one branch, got none")

    def choose(index: Array, branches: list[Callable[[], PyTree]]) -> PyTree:
        """What that branch returns; the last of `branches` is for an index out of range."""
        return jax.lax.switch(index, branches)

    def init(key: Key, x: PyTree) -> tuple[PyTree, PyTree]:
        _, value = _pair(x)
        params, state, y = {}, {}, {}
        for name, part in parts.items():
            with within(name, value):
                params[name], state[name] = part.init(child_key(key, name), value)
                y[name] = output_shape(part, params[name], state[name], value)
        _check_outputs(y)
        return params, state

    def forward(
        params: PyTree, state: PyTree, x: PyTree, key: Key
    ) -> tuple[PyTree, PyTree, ConditionalCache]:
        check_children("conditional", "params", params, parts)
        check_children("conditional", "state", state, parts)
        index, value = _index(x, parts)

        def run(name: str) -> tuple[PyTree, PyTree, PyTree]:
            with within(name, value):
                return parts[name].forward(params[name], state[name], value, child_key(key, name))

        shapes = {name: jax.eval_shape(lambda name=name: run(name)) for name in parts}
        _check_outputs({name: y for name, (y, _, _) in shapes.items()})
        blank = {
            name: jax.tree.map(lambda leaf: _blank(leaf, key), cache)
            for name, (_, _, cache) in shapes.items()
        }

        def taken(name: str) -> tuple[PyTree, PyTree, PyTree]:
            y, new_state, cache = run(name)
            return y, {**state, name: new_state}, {**blank, name: cache}

        def out_of_range() -> tuple[PyTree, PyTree, PyTree]:
            y, _, _ = next(iter(shapes.values()))
            return jax.tree.map(_nan, y), dict(state), blank

        branches = [lambda name=name: taken(name) for name in parts]
        y, new_state, caches = choose(index, [*branches, out_of_range])
        return y, new_state, ConditionalCache(index, caches)

    def backward(params: PyTree, cache: ConditionalCache, dy: PyTree) -> tuple[PyTree, PyTree]:
        check_children("conditional", "cache", cache.branches, parts)
        zeros = jax.tree.map(jnp.zeros_like, params)

        def taken(name: str) -> tuple[PyTree, PyTree]:
            with within(name, dy):
                dparams, dx = parts[name].backward(params[name], cache.branches[name], dy)
            return {**zeros, name: dparams}, dx

        shapes = jax.eval_shape(lambda: taken(next(iter(parts))))

        def out_of_range() -> tuple[PyTree, PyTree]:
            return zeros, jax.tree.map(lambda d: jnp.zeros(d.shape, d.dtype), shapes[1])

        branches = [lambda name=name: taken(name) for name in parts]
        dparams, dx = choose(cache.taken, [*branches, out_of_range])
        return dparams, (None, dx)

    def predict(params: PyTree, state: PyTree, x: PyTree) -> PyTree:
        check_children("conditional", "params", params, parts)
        check_children("conditional", "state", state, parts)
        index, value = _index(x, parts)

        def run(name: str) -> PyTree:
            with within(name, value):
                return parts[name].predict(params[name], state[name], value)

        shapes = {name: jax.eval_shape(lambda name=name: run(name)) for name in parts}
        _check_outputs(shapes)
        branches = [lambda name=name: run(name) for name in parts]
        return choose(index, [*branches, lambda: jax.tree.map(_nan, next(iter(shapes.values())))])

    def rebuild(parts: Mapping[str, Layer]) -> Layer:
        return conditional(**parts)

    return Layer("conditional", init, forward, backward, predict, MappingProxyType(parts), rebuild)


def _pair(x: PyTree) -> tuple[Any, PyTree]:
    """The index and the value, after a look at them; arrays or shapes."""
    if not isinstance(x, tuple) or len(x) != 2:
        raise TypeError(f"conditional: expected x to be a tuple (index, value), got {describe(x)}")
    index, value = x
    if not jnp.issubdtype(index.dtype, jnp.integer):
        raise TypeError(f"conditional: expected an index of integers, got {index.dtype}")
    if index.shape != ():
        raise ValueError(
            f"conditional: expected one index, of shape (), got {index.shape}; a choice for each "
            "element is layers.switch"
        )
    return index, value


def _index(x: PyTree, parts: Mapping[str, Layer]) -> tuple[Array, PyTree]:
    index, value = _pair(as_arrays(x))
    if not isinstance(index, jax.core.Tracer) and not 0 <= int(index) < len(parts):
        raise ValueError(f"conditional: expected an index in [0, {len(parts)}), got {int(index)}")
    # In bits that hold the number of branches; and to int32 only what fits into it.
    index = index.astype(label_dtype(index.dtype))
    valid = (index >= 0) & (index < len(parts))
    return jnp.where(valid, index, len(parts)).astype(jnp.int32), value


def _check_outputs(y: Mapping[str, PyTree]) -> None:
    (first, wanted), *others = y.items()
    for name, got in others:
        if describe(got) != describe(wanted):
            raise ValueError(
                f"conditional: expected every branch to return {describe(wanted)} as {first!r} "
                f"does, got {describe(got)} from {name!r}"
            )


def _blank(leaf: jax.ShapeDtypeStruct, key: Key) -> Array:
    """An array for the cache of a branch that is not taken; nobody reads it."""
    if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        return jnp.broadcast_to(jnp.asarray(key), leaf.shape)
    return jnp.zeros(leaf.shape, leaf.dtype)


def _nan(leaf: jax.ShapeDtypeStruct) -> Array:
    value = jnp.nan if jnp.issubdtype(leaf.dtype, jnp.inexact) else 0
    return jnp.full(leaf.shape, value, leaf.dtype)
