"""‖dθ_n‖² of one layer for every example n of a batch, by a formula where there is one.

With x_nt and dy_nt what example n has at place t (a time, or a place of an image):

    linear        ‖Σ_t x_t dy_tᵀ‖² = Σ_ts (x_t · x_s) (dy_t · dy_s), for a single place ‖x‖² ‖dy‖²
    convolution   that of a linear layer on the windows, which the layer itself cuts out: it is run with
                  the unit matrix for its kernel
    embedding     Σ_ts [id_t = id_s] (dy_t · dy_s)
    bias          ‖Σ_t dy_t‖²
    norms         ‖Σ_t dy_t x̂_t‖² + ‖Σ_t dy_t‖²; x̂ is the layer with scale 1 and bias 0

The sum over pairs of places takes 2 T² numbers an example, the product itself D F: whichever is less is
formed, for so many examples at a time that they take about a million. All other layers with parameters
run backward one example after another (`vmap` over as many as a million numbers hold): that forms the
gradients of these examples, and drops them. A convolution in groups is one of them.
Source: Goodfellow (2015); sequences: Li et al. (2021); the smaller of the two: Bu, Mao, Xu (2022).
"""

import math
from collections.abc import Callable
from typing import Literal

import jax
import jax.numpy as jnp

from fnn.diagnostics.passes import Seen
from fnn.dtypes import accumulation_dtype
from fnn.layer import Array, Layer, PyTree
from fnn.layers.convolution import ConvolutionParams
from fnn.layers.embedding import EmbeddingParams
from fnn.layers.linear import BiasParams, LinearParams
from fnn.layers.normalization import NormParams

# "norms": of an outer product. "pairs": of places. "product": one example's gradient at a time, by a
# product. "sums": of a bias or scale. "one by one": by the layer's own backward pass.
Way = Literal["norms", "pairs", "product", "sums", "one by one"]
_NORMS = ("batch_norm", "group_norm", "instance_norm", "layer_norm", "rms_norm")
_ROOM = 1 << 20  # numbers that are formed at a time
_HIGHEST = jax.lax.Precision.HIGHEST


def leaf_squares(entry: Seen) -> tuple[Way, Array]:
    """How it was found, and (N,), ‖dθ_n‖² summed over the parameters of the layer.

    `entry` is of one block: its arrays are (steps, N, …).
    """
    layer, params = entry.layer, jax.tree.map(lambda leaf: leaf[0], entry.params)
    kind = layer.name.partition("(")[0]  # other layers have parameters of these types too
    if isinstance(params, LinearParams) and kind == "linear":
        return _linear(params, _places(entry.x), _places(entry.dy))
    if isinstance(params, BiasParams) and kind == "bias":
        return "sums", _sums(_places(entry.dy))
    if isinstance(params, NormParams) and kind in _NORMS:
        return "sums", _norm(entry, params)
    dense = isinstance(params, ConvolutionParams) and kind == "convolution"
    if dense and params.w.shape[-2] == entry.x.shape[-1]:  # else it has groups
        return _convolution(layer, params, entry.x, entry.dy)
    if isinstance(params, EmbeddingParams) and kind == "embedding":
        places = math.prod(entry.x.shape) // entry.x.shape[1]
        if 2 * places**2 <= params.table.size:
            return "pairs", _embedding(layer, params, entry.x, entry.dy)
    return "one by one", _one_by_one(entry, params)


def _places(array: Array) -> Array:
    """(steps, N, …, C) -> (N, places, C), in float32 at least."""
    wide = jnp.moveaxis(array, 1, 0).astype(accumulation_dtype(array.dtype))
    return wide.reshape(wide.shape[0], math.prod(wide.shape[1:-1]), wide.shape[-1])


def _sums(dy: Array) -> Array:
    return jnp.square(dy.sum(axis=1)).sum(axis=1)


def _linear(params: LinearParams, x: Array, dy: Array) -> tuple[Way, Array]:
    way, found = _products(x, dy)
    return way, found if params.b is None else found + _sums(dy)


def _products(x: Array, dy: Array) -> tuple[Way, Array]:
    """‖Σ_t x_t dy_tᵀ‖² for x (N, T, D) and dy (N, T, F)."""
    if x.shape[1] == 1:
        return "norms", jnp.square(x).sum(axis=(1, 2)) * jnp.square(dy).sum(axis=(1, 2))
    way, one, numbers = _way(x.shape[1], x.shape[2], dy.shape[2])
    return way, _mapped(lambda each: one(*each), (x, dy), numbers)


def _way(
    places: int, inputs: int, outputs: int
) -> tuple[Way, Callable[[Array, Array], Array], int]:
    """The cheaper way for one example, and how many numbers it forms."""

    def pairs(x: Array, dy: Array) -> Array:
        of_x, of_dy = (jnp.matmul(a, a.T, precision=_HIGHEST) for a in (x, dy))
        return jnp.maximum((of_x * of_dy).sum(), 0)  # rounding may go below

    def product(x: Array, dy: Array) -> Array:
        return jnp.square(jnp.matmul(x.T, dy, precision=_HIGHEST)).sum()

    if 2 * places**2 <= inputs * outputs:
        return "pairs", pairs, 2 * places**2
    return "product", product, inputs * outputs


def _convolution(layer: Layer, params: ConvolutionParams, x: Array, dy: Array) -> tuple[Way, Array]:
    shape, outputs = params.w.shape[:-1], params.w.shape[-1]
    size = math.prod(shape)
    dtype = accumulation_dtype(x.dtype)
    unit = ConvolutionParams(jnp.eye(size, dtype=dtype).reshape(*shape, size), None)
    places = x.shape[0] * math.prod(dy.shape[2:-1])
    way, one, numbers = _way(places, size, outputs)

    def of_example(each: tuple[Array, Array]) -> Array:
        x, dy = each  # (steps, …): the steps are examples to the layer
        windows, _, _ = layer.forward(unit, (), x.astype(dtype), None)
        dy = dy.astype(dtype).reshape(-1, outputs)
        found = one(windows.reshape(-1, size), dy)
        return found if params.b is None else found + jnp.square(dy.sum(axis=0)).sum()

    examples = (jnp.moveaxis(x, 1, 0), jnp.moveaxis(dy, 1, 0))
    return way, _mapped(of_example, examples, numbers + places * size)


def _embedding(layer: Layer, params: EmbeddingParams, ids: Array, dy: Array) -> Array:
    # An id that is padding, or none, has no row of ones.
    ones = EmbeddingParams(jnp.ones_like(params.table))
    known = layer.forward(ones, (), ids, None)[0][..., 0] == 1
    ids = jnp.where(known, ids, -1)
    ids = jnp.moveaxis(ids, 1, 0).reshape(ids.shape[1], -1)

    def of_example(each: tuple[Array, Array]) -> Array:
        ids, dy = each
        same = (ids[:, None] == ids[None, :]) & (ids >= 0)[:, None]
        products = jnp.matmul(dy, dy.T, precision=_HIGHEST)
        return jnp.maximum(jnp.where(same, products, 0).sum(), 0)

    return _mapped(of_example, (ids, _places(dy)), 2 * ids.shape[1] ** 2)


def _norm(entry: Seen, params: NormParams) -> Array:
    dy = _places(entry.dy)
    total = jnp.zeros(dy.shape[0], dy.dtype)
    if params.scale is not None:
        bias = None if params.bias is None else jnp.zeros_like(params.bias)
        plain = NormParams(jnp.ones_like(params.scale), bias)

        def normalized(state: PyTree, x: Array) -> Array:
            return entry.layer.forward(plain, state, x, None)[0]

        total = total + _sums(dy * _places(jax.vmap(normalized)(entry.state, entry.x)))
    return total if params.bias is None else total + _sums(dy)


def _one_by_one(entry: Seen, params: PyTree) -> Array:
    def of_example(each: tuple[PyTree, PyTree]) -> Array:
        x, dy = jax.tree.map(lambda leaf: leaf[:, None], each)  # (steps, 1, …)

        def of_step(state: PyTree, x: PyTree, dy: PyTree) -> PyTree:
            _, _, cache = entry.layer.forward(params, state, x, None)
            return entry.layer.backward(params, cache, dy)[0]

        try:
            dparams = jax.vmap(of_step)(entry.state, x, dy)
        except Exception as error:
            error.add_note(
                f"in the pass of {entry.path} on a single example, without a key: a layer that draws "
                "random numbers for its parameters has no gradient of one example"
            )
            raise
        squares = [
            jnp.square(leaf.astype(accumulation_dtype(leaf.dtype)).sum(axis=0)).sum()
            for leaf in jax.tree.leaves(dparams)
        ]
        return jnp.stack([each.astype(squares[0].dtype) for each in squares]).sum()

    examples = jax.tree.map(lambda leaf: jnp.moveaxis(leaf, 1, 0), (entry.x, entry.dy))
    steps = jax.tree.leaves(entry.dy)[0].shape[0]
    numbers = sum(leaf.size for leaf in jax.tree.leaves(params)) * steps
    return _mapped(of_example, examples, numbers)


def _mapped(function: Callable[[PyTree], Array], examples: PyTree, numbers: int) -> Array:
    """(N,), the function of every example, of as many at a time as there is room for."""
    count = jax.tree.leaves(examples)[0].shape[0]
    at_once = max(1, min(count, _ROOM // max(numbers, 1)))
    if at_once == count:
        return jax.vmap(function)(examples)
    return jax.lax.map(function, examples, batch_size=at_once)
