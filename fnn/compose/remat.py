"""Memory for time: a layer whose inner values are computed again in its backward pass."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from fnn.compose.watch import watched
from fnn.compose.wrapper import check_layer, wrapper
from fnn.layer import Array, Key, Layer, PyTree, as_arrays


class RematCache(NamedTuple):
    """What the layer was called with."""

    state: PyTree
    x: PyTree
    key: Key


def remat(layer: Layer) -> Layer:
    """The same layer, which keeps its input and its key instead of all that happens inside.

    Forward: the layer's. Backward: the layer's forward once more, with the same key, then its backward.
    Worth it around each block of a deep network, as in ``repeat(remat(block), 24)``: what is kept then
    is one input a block, for about a third more time.

    Shapes: the layer's; so are the parameters, the state and their paths. Cache: x, the key and the state
    that forward got. Source: Griewank, Walther (2000); Chen, Xu, Zhang, Guestrin (2016).

    Raises:
      TypeError: `layer` is no Layer.
    """
    check_layer("remat", layer)

    def forward(
        params: PyTree, state: PyTree, x: PyTree, key: Key
    ) -> tuple[PyTree, PyTree, PyTree]:
        x = as_arrays(x)
        y, new_state, cache = layer.forward(params, state, x, key)
        return y, new_state, cache if watched(cache) else RematCache(state, x, key)

    def backward(params: PyTree, cache: PyTree, dy: PyTree) -> tuple[PyTree, PyTree]:
        if watched(cache):
            return layer.backward(params, cache, dy)
        params, (state, x, key), dy = lax.optimization_barrier((params, cache, as_arrays(dy)))
        _, _, inside = layer.forward(params, state, _known_late(x, dy), key)
        return layer.backward(params, inside, dy)

    return wrapper(
        remat, layer, f"remat({layer.name})", layer.init, forward, backward, layer.predict
    )


def _known_late(x: PyTree, dy: PyTree) -> PyTree:
    """x, so that no compiler can tell it from something that is made of dy.

    A compiler that sees that two forward passes are one runs the first alone and keeps its values. The
    barrier is meant to hide it, but XLA:CPU removes it first (and so does nothing for `jax.checkpoint`
    outside of a loop). One that is computed from dy, as it were, cannot be removed; and the second pass
    cannot begin before dy is there.
    """
    some = next((leaf for leaf in jax.tree.leaves(dy) if leaf.size), None)
    if some is None:
        return x
    number = some[(0,) * some.ndim]
    one = (number == number) | (number != number)  # of which one holds, of a NaN the second

    def times_one(leaf: Array) -> Any:
        if jnp.issubdtype(leaf.dtype, jnp.bool_):
            return leaf & one
        return leaf * one.astype(leaf.dtype) if jnp.issubdtype(leaf.dtype, jnp.number) else leaf

    return jax.tree.map(times_one, x)
