"""Computing in another dtype than that of the parameters.

With ↓ for the conversion to that dtype and ↑ for the way back:

y = ↑f(↓θ, ↓x)        dθ = ↑(∂f/∂θ)ᵀ ↓dy        dx = ↑(∂f/∂x)ᵀ ↓dy
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from fnn.compose.cotangent import Outline, cotangent, outline
from fnn.compose.watch import Around, watched
from fnn.compose.wrapper import check_layer, wrapper
from fnn.layer import Key, Layer, PyTree, Static, as_arrays


class MixedOutlines(NamedTuple):
    """The dtypes to which the gradients return."""

    x: Static[Outline]
    y: Static[Outline]  # of the layer's own output


def mixed(layer: Layer, dtype: Any = jnp.bfloat16) -> Layer:
    """The layer with its arithmetic in `dtype`, on parameters that stay as they are.

    Forward: the layer's, on x and parameters converted to `dtype`; y is converted to the dtype of x, or
    where x has only integers, to that of the parameters. Backward: the layer's, on dy converted to
    `dtype`; then dparams to the dtypes of the parameters, and dx to that of x. So an optimizer sees wide
    parameters and wide gradients, and small updates are not rounded away. State keeps its dtype: running
    averages need their digits. float16 ends at 65504, and at 6e-8 below, so gradients in it may need a
    scaled loss. Gradients have the digits of `dtype`; give `check.network` a tolerance of as many.

    Shapes: the layer's; so are the parameters, the state and their paths. Cache: the layer's, in `dtype`.
    Source: Micikevicius et al. (2018).

    Raises:
      TypeError: `layer` is no Layer, or `dtype` is no floating dtype.
    """
    check_layer("mixed", layer)
    dtype = jnp.dtype(dtype)
    if not jnp.issubdtype(dtype, jnp.floating):
        raise TypeError(f"mixed: expected a floating dtype to compute in, got {dtype}")

    def converted(tree: PyTree) -> PyTree:
        to = jax.dtypes.canonicalize_dtype(dtype)  # float64 is float32 where jax has no float64
        return jax.tree.map(lambda leaf: leaf.astype(to) if _floating(leaf) else leaf, tree)

    def returned(y: PyTree, *given: PyTree) -> PyTree:
        to = next((leaf.dtype for leaf in jax.tree.leaves(given) if _floating(leaf)), None)
        return jax.tree.map(
            lambda leaf: leaf.astype(to) if to is not None and _floating(leaf) else leaf, y
        )

    def forward(
        params: PyTree, state: PyTree, x: PyTree, key: Key
    ) -> tuple[PyTree, PyTree, Around]:
        x = as_arrays(x)
        y, new_state, cache = layer.forward(converted(params), state, converted(x), key)
        return (
            returned(y, x, params),
            new_state,
            Around(cache, MixedOutlines(outline(x), outline(y))),
        )

    def backward(params: PyTree, cache: Around, dy: PyTree) -> tuple[PyTree, PyTree]:
        of_x, of_y = cache.own
        dparams, dx = layer.backward(converted(params), cache.cache, cotangent(dy, of_y))
        if not watched(dparams):
            dparams = jax.tree.map(lambda d, p: d.astype(p.dtype), dparams, params)
        return dparams, cotangent(dx, of_x)

    def predict(params: PyTree, state: PyTree, x: PyTree) -> PyTree:
        x = as_arrays(x)
        return returned(layer.predict(converted(params), state, converted(x)), x, params)

    return wrapper(
        lambda inner: mixed(inner, dtype),
        layer,
        f"mixed({layer.name}, {dtype})",
        layer.init,
        forward,
        backward,
        predict,
    )


def _floating(leaf: Any) -> bool:
    return bool(jnp.issubdtype(leaf.dtype, jnp.floating))
