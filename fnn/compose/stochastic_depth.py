"""A residual block that is left out at random: stochastic depth."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from fnn.compose.child import check_children, describe, within
from fnn.compose.parallel import add_trees
from fnn.layer import Array, Key, Layer, PyTree, Static, as_arrays, output_shape
from fnn.layers.noise_draws import checked_key, kept, share_kept
from fnn.random import child_key, name_hash

Per = Literal["example", "batch"]


class StochasticDepthCache(NamedTuple):
    """Who survived, and the children's caches; the body's is of zeros for a batch that left it out."""

    alive: Array  # (N,) or (), bool
    parts: dict[str, PyTree]
    dtypes: Static[Any]  # of the body's output


def linear_decay(depth: int, last: float = 0.5) -> tuple[float, ...]:
    """The survival of each of `depth` blocks: ``1 - l / depth · (1 - last)`` for l = 1 … depth.

    Early blocks, on which all others rest, survive most.
    Source: Huang, Sun, Liu, Sedra, Weinberger (2016).

    Raises:
      ValueError: the depth is below 1, or `last` is not in (0, 1].
    """
    if depth < 1 or not 0 < last <= 1:
        raise ValueError(
            f"linear_decay: expected a depth of at least 1 and 0 < last <= 1, got {depth} and {last}"
        )
    return tuple(1 - block / depth * (1 - last) for block in range(1, depth + 1))


def stochastic_depth(
    body: Layer, survival: float, *, shortcut: Layer | None = None, per: Per = "example"
) -> Layer:
    """``y = shortcut(x) + m body(x)``, where m is 1 with probability `survival`, else 0.

    Forward: m is drawn for each example, or one for the batch; then a body that is left out is not run
    either (`lax.cond`), nor is its backward pass, and its state stays. Backward, with the same m:
    ``dx = shortcutᵀ(dy) + bodyᵀ(m dy)``. `predict` takes the mean of m:
    ``shortcut(x) + survival · body(x)``. Survival is taken to the nearest multiple of 2⁻¹⁶.

    Shapes: x and y any trees, with the batch first if m is per example. Cache: the children's, and m.
    Source: Huang, Sun, Liu, Sedra, Weinberger (2016), who draw m per batch.

    Args:
      body: the block that is left out.
      survival: the probability that it is not; `linear_decay` gives one for each block of a network.
      shortcut: what is always there; the identity if None.
      per: "example" or "batch". With "example" every example's body is run.

    Raises:
      ValueError: survival is not in (0, 1], there is no such `per`, the two terms differ in shape or
        dtype, or `forward` gets no key.
    """
    if not 0 < survival <= 1:
        raise ValueError(f"stochastic_depth: expected 0 < survival <= 1, got {survival}")
    if per not in ("example", "batch"):
        raise ValueError(f'stochastic_depth: expected per "example" or "batch", got {per!r}')
    parts = {"body": body} if shortcut is None else {"body": body, "shortcut": shortcut}
    name = f"stochastic_depth({survival:.3g})"
    mean = share_kept(survival)

    def init(key: Key, x: PyTree) -> tuple[PyTree, PyTree]:
        params, state, y = {}, {}, {"shortcut": jax.eval_shape(as_arrays, x)}
        for part_name, part in parts.items():
            with within(part_name, x):
                params[part_name], state[part_name] = part.init(child_key(key, part_name), x)
                y[part_name] = output_shape(part, params[part_name], state[part_name], x)
        _check_terms(name, y["body"], y["shortcut"])
        return params, state

    def run(
        part_name: str, params: PyTree, state: PyTree, x: PyTree, key: Key
    ) -> tuple[PyTree, PyTree, PyTree]:
        with within(part_name, x):
            arguments = (params[part_name], state[part_name], x, child_key(key, part_name))
            return parts[part_name].forward(*arguments)

    def forward(
        params: PyTree, state: PyTree, x: PyTree, key: Key
    ) -> tuple[PyTree, PyTree, StochasticDepthCache]:
        check_children(name, "params", params, parts)
        check_children(name, "state", state, parts)
        key, x = checked_key(key, name, "who survives"), as_arrays(x)
        own_key = jax.random.fold_in(key, name_hash("survival"))
        y, new_state, cache = {"shortcut": x}, {}, {}
        if shortcut is not None:
            results = run("shortcut", params, state, x, key)
            y["shortcut"], new_state["shortcut"], cache["shortcut"] = results

        def of_body(params: PyTree, state: PyTree, x: PyTree) -> tuple[PyTree, PyTree, PyTree]:
            return run("body", params, state, x, key)

        if per == "example":
            results = of_body(params, state, x)
            alive = kept(own_key, survival, (_batch(name, results[0]),))
            y["body"] = _masked(alive, results[0])
        else:
            alive = kept(own_key, survival, ())
            shapes = jax.eval_shape(of_body, params, state, x)
            results = lax.cond(
                alive,
                of_body,
                lambda params, state, x: _left_out(shapes, state["body"], key),
                params,
                state,
                x,
            )
            y["body"] = results[0]
        _, new_state["body"], cache["body"] = results
        _check_terms(name, y["body"], y["shortcut"])
        dtypes = tuple(leaf.dtype for leaf in jax.tree.leaves(y["body"]))
        return (
            add_trees(y["shortcut"], y["body"]),
            {part_name: new_state[part_name] for part_name in parts},
            StochasticDepthCache(alive, cache, Static(dtypes)),
        )

    def backward(params: PyTree, cache: StochasticDepthCache, dy: PyTree) -> tuple[PyTree, PyTree]:
        check_children(name, "cache", cache.parts, parts)
        leaves, tree = jax.tree.flatten(as_arrays(dy))
        typed = [leaf.astype(dtype) for leaf, dtype in zip(leaves, cache.dtypes.value, strict=True)]
        dy = jax.tree.unflatten(tree, typed)
        dparams, dx = {}, {"shortcut": dy}
        if shortcut is not None:
            with within("shortcut", dy):
                of_shortcut = (params["shortcut"], cache.parts["shortcut"], dy)
                dparams["shortcut"], dx["shortcut"] = shortcut.backward(*of_shortcut)

        def of_body(params: PyTree, cache: PyTree, dy: PyTree) -> tuple[PyTree, PyTree]:
            with within("body", dy):
                return body.backward(params, cache, dy)

        arguments = (params["body"], cache.parts["body"])
        if per == "example":
            results = of_body(*arguments, _masked(cache.alive, dy))
        else:
            shapes = jax.eval_shape(of_body, *arguments, dy)
            results = lax.cond(
                cache.alive,
                of_body,
                lambda *_: jax.tree.map(_zeros, shapes),
                *arguments,
                dy,
            )
        dparams["body"], dx["body"] = results
        return {part_name: dparams[part_name] for part_name in parts}, add_trees(
            dx["shortcut"], dx["body"]
        )

    def predict(params: PyTree, state: PyTree, x: PyTree) -> PyTree:
        check_children(name, "params", params, parts)
        check_children(name, "state", state, parts)
        y = {"shortcut": as_arrays(x)}
        for part_name, part in parts.items():
            with within(part_name, x):
                y[part_name] = part.predict(params[part_name], state[part_name], x)
        _check_terms(name, y["body"], y["shortcut"])
        return add_trees(y["shortcut"], jax.tree.map(lambda leaf: leaf * mean, y["body"]))

    def rebuild(parts: Mapping[str, Layer]) -> Layer:
        return stochastic_depth(parts["body"], survival, shortcut=parts.get("shortcut"), per=per)

    return Layer(name, init, forward, backward, predict, MappingProxyType(parts), rebuild)


def _batch(name: str, tree: PyTree) -> int:
    """How many examples a tree of arrays has.

    Raises:
      ValueError: its leaves disagree.
    """
    leaves = jax.tree.leaves(tree)
    sizes = {leaf.shape[0] if leaf.ndim else None for leaf in leaves}
    if len(sizes) != 1 or None in sizes:
        shapes = [leaf.shape for leaf in leaves]
        raise ValueError(f"{name}: expected outputs (N, …) of one batch of examples, got {shapes}")
    return leaves[0].shape[0]


def _masked(alive: Array, tree: PyTree) -> PyTree:
    """0 where the body of an example is left out."""

    def of(leaf: Array) -> Array:
        mask = lax.expand_dims(alive, range(1, leaf.ndim))
        return jnp.where(jnp.broadcast_to(mask, leaf.shape), leaf, 0)

    return jax.tree.map(of, tree)


def _left_out(shapes: PyTree, state: PyTree, key: Array) -> tuple[PyTree, PyTree, PyTree]:
    """What `forward` returns of a body that is not run: zeros, and the state as it was."""
    y, _, cache = shapes

    def blank(leaf: jax.ShapeDtypeStruct) -> Array:
        if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):  # a key has no zero
            return jnp.broadcast_to(key, leaf.shape)
        return _zeros(leaf)

    return jax.tree.map(_zeros, y), state, jax.tree.map(blank, cache)


def _zeros(leaf: jax.ShapeDtypeStruct) -> Array:
    return jnp.zeros(leaf.shape, leaf.dtype)


def _check_terms(name: str, body: PyTree, shortcut: PyTree) -> None:
    """A sum that broadcast would hide a wrong width."""
    if describe(body) != describe(shortcut):
        raise ValueError(
            f"{name}: expected the body to return {describe(shortcut)} as the shortcut does, "
            f"got {describe(body)}; give a `shortcut` that maps x to the body's shape"
        )
