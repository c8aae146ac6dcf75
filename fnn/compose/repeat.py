"""Equal blocks one after the other, traced once: a loop instead of n copies of the program.

x_{i+1} = f(θ_i, x_i)        dx_i = f_iᵀ(dx_{i+1})        dθ_i = (∂f_i/∂θ_i)ᵀ dx_{i+1}
"""

from collections.abc import Mapping
from types import MappingProxyType

import jax
import jax.numpy as jnp
from jax import lax

from fnn.compose.child import check_children, describe, within
from fnn.compose.cotangent import cotangent, outline
from fnn.compose.stacking import Distinct, distinct, restored
from fnn.compose.watch import Looped
from fnn.layer import Array, Key, Layer, PyTree, Static, as_arrays, output_shape
from fnn.random import child_key


def repeat(block: Layer, times: int) -> Layer:
    """`times` blocks of one form, each with parameters, state and randomness of its own.

    Forward: ``x_{i+1} = block(params_i, x_i)`` in a `lax.scan`. Backward: the reverse scan, which carries
    dx and collects the dparams. One block is traced and compiled, however many there are, so a network of
    48 blocks compiles as fast as one of four.

    Shapes: the block returns what it takes; every leaf of its parameters, state and cache gets a first
    axis of length `times`, so ``params["block"].w[3]`` is the weight of the fourth block. Cache: the
    block's caches, stacked, each array once. The key of block i is ``fold_in(key of "block", i)``: depth
    changes no draws. Source: Vaswani et al. (2017), for a stack of blocks of one form.

    Raises:
      TypeError: `block` is no Layer.
      ValueError: `times` is not positive, the block returns another shape or dtype than it takes, or the
        parameters are those of another number of blocks.
    """
    if not isinstance(block, Layer):
        raise TypeError(f"repeat: expected a Layer, got {block!r}; call the constructor")
    if times < 1:
        raise ValueError(f"repeat: expected at least one block, got {times}")
    parts = {"block": block}

    def init(key: Key, x: PyTree) -> tuple[PyTree, PyTree]:
        key = child_key(key, "block")
        with within("block", x):
            if isinstance(key, jax.core.Tracer):
                stacked = lax.map(lambda i: block.init(_fold(key, i), x), jnp.arange(times))
            else:  # one by one, as concrete keys can be drawn from without a compilation
                each = [block.init(_fold(key, i), x) for i in range(times)]
                stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *each)
            params, state = stacked
            first_params, first_state = jax.tree.map(lambda leaf: leaf[0], stacked)
            y = output_shape(block, first_params, first_state, x)
            _check_same(y, jax.eval_shape(as_arrays, x))
        return {"block": params}, {"block": state}

    def forward(
        params: PyTree, state: PyTree, x: PyTree, key: Key
    ) -> tuple[PyTree, PyTree, Looped]:
        check(params, "params")
        check(state, "state")
        x, key = as_arrays(x), child_key(key, "block")

        given = (params["block"], state["block"])

        def one(x: PyTree, each: tuple[PyTree, Array]) -> tuple[PyTree, Distinct]:
            (params, state), i = each
            with within("block", x):
                y, next_state, cache = block.forward(params, state, x, _fold(key, i))
                _check_same(y, x)
            return y, distinct((next_state, cache), known=jax.tree.leaves((params, state)))

        y, collected = lax.scan(one, x, (given, jnp.arange(times)))
        next_state, cache = restored(collected, known=jax.tree.leaves(given))
        kept = Looped(distinct({"block": cache}), [], Static(times), Static(False), outline(x))
        return y, {"block": next_state}, kept

    def backward(params: PyTree, cache: Looped, dy: PyTree) -> tuple[PyTree, PyTree]:
        check(params, "params")

        def one(dy: PyTree, each: Distinct) -> tuple[PyTree, PyTree]:
            with within("block", dy):
                params, cache = restored(each)
                dparams, dx = block.backward(params, cache, dy)
            return dx, dparams

        blocks = distinct((params["block"], restored(cache.children)["block"]))
        dx, dparams = lax.scan(one, cotangent(dy, cache.own), blocks, length=times, reverse=True)
        return {"block": dparams}, dx

    def predict(params: PyTree, state: PyTree, x: PyTree) -> PyTree:
        check(params, "params")
        check(state, "state")

        def one(x: PyTree, each: tuple[PyTree, PyTree]) -> tuple[PyTree, None]:
            with within("block", x):
                y = block.predict(*each, x)
                _check_same(y, x)
            return y, None

        return lax.scan(one, as_arrays(x), (params["block"], state["block"]), length=times)[0]

    def check(tree: PyTree, what: str) -> None:
        check_children("repeat", what, tree, parts)
        lengths = {jnp.shape(leaf)[:1] for leaf in jax.tree.leaves(tree)}
        if lengths - {(times,)}:
            raise ValueError(
                f"repeat: expected {what} stacked for {times} blocks, got {describe(tree['block'])}"
            )

    def rebuild(parts: Mapping[str, Layer]) -> Layer:
        return repeat(parts["block"], times)

    return Layer(
        f"repeat({times})", init, forward, backward, predict, MappingProxyType(parts), rebuild
    )


def _fold(key: Key, i: int | Array) -> Key:
    return None if key is None else jax.random.fold_in(key, i)


def _check_same(y: PyTree, x: PyTree) -> None:
    if describe(y) != describe(x):
        raise ValueError(
            f"repeat: expected the block to return what it takes, {describe(x)}, got {describe(y)}"
        )
