"""Products with the Hessian and the generalised Gauss-Newton matrix, of data in one part or many."""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp

from fnn.diagnostics.parts import over_parts
from fnn.diagnostics.passes import share_of_mean
from fnn.dtypes import accumulation_dtype
from fnn.gradient import reduced_by_hand
from fnn.layer import Array, Key, Layer, PyTree, as_arrays
from fnn.losses import Loss

Matrix = Literal["hessian", "gauss-newton"]
# (params, state, x, target, key, weights) -> of all examples
OfData = Callable[[PyTree, PyTree, PyTree, PyTree, Key, Array | None], Any]


class Flat(NamedTuple):
    """Parameters as one vector, in float32 at least, and the way back to their tree and dtypes."""

    vector: Array
    restored: Callable[[Array], PyTree]


def flattened(params: PyTree) -> Flat:
    """All parameters, one after another.

    Raises:
      ValueError: there are none.
    """
    leaves, structure = jax.tree.flatten(params)
    if not any(leaf.size for leaf in leaves):
        raise ValueError("curvature: expected a network with parameters, got none")
    wide = max((accumulation_dtype(leaf.dtype) for leaf in leaves), key=lambda d: d.itemsize)
    ends = [0]
    for leaf in leaves:
        ends.append(ends[-1] + leaf.size)

    def restored(vector: Array) -> PyTree:
        return jax.tree.unflatten(
            structure,
            [
                vector[begin:end].reshape(leaf.shape).astype(leaf.dtype)
                for leaf, begin, end in zip(leaves, ends[:-1], ends[1:], strict=True)
            ],
        )

    return Flat(jnp.concatenate([leaf.reshape(-1).astype(wide) for leaf in leaves]), restored)


def check_matrix(matrix: str, batch_size: int | None) -> None:
    """Refuse options when a measurement is built.

    Raises:
      ValueError: an unknown matrix, or a batch size that is not positive.
    """
    if matrix not in get_args(Matrix):
        raise ValueError(f"curvature: expected one of {list(get_args(Matrix))}, got {matrix!r}")
    check_batch_size(batch_size)


def check_batch_size(batch_size: int | None) -> None:
    """Refuse a size of parts that is not positive.

    Raises:
      ValueError: it is not.
    """
    if batch_size is not None and batch_size < 1:
        raise ValueError(f"expected a batch size of 1 or more, got {batch_size}")


def summed_over_parts(function: Callable[..., PyTree], batch_size: int | None) -> OfData:
    """``f(params, state, x, target, key, weights)``: the sum of `function` over parts of the examples.

    ``function(params, state, x, target, key, reduction)`` is called with the reduction of losses to
    (their part in the mean over all examples, its derivative), as `fnn.gradient.reduced_by_hand` is.
    """

    def total(
        params: PyTree, state: PyTree, x: PyTree, target: PyTree, key: Key, weights: Array | None
    ) -> PyTree:
        data = as_arrays((x, target, weights))
        share = share_of_mean(data)

        def one(part: tuple[PyTree, PyTree, Array | None], key: Key) -> PyTree:
            x, target, weights = part

            def reduction(losses: Array) -> tuple[Array, Array]:
                shares = share(losses, weights)
                counted = losses if weights is None else jnp.where(weights != 0, losses, 0)
                return (shares * counted).sum(), shares

            return function(params, state, x, target, key, reduction)

        def zeros(shapes: PyTree) -> PyTree:
            return jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)

        def merge(a: PyTree, b: PyTree) -> PyTree:
            return jax.tree.map(jnp.add, a, b)

        return over_parts(one, merge, zeros, data, key, batch_size)

    return total


def gradient_of_data(net: Layer, loss: Loss, batch_size: int | None) -> OfData:
    """The gradient of the mean loss, as a tree like the parameters, by hand."""
    by_hand = reduced_by_hand(net, loss)

    def one(*given: Any) -> PyTree:
        return _wide(by_hand(*given)[1])

    return summed_over_parts(one, batch_size)


def products_of_data(
    net: Layer, loss: Loss, matrix: Matrix, batch_size: int | None
) -> Callable[..., Callable[[PyTree], PyTree]]:
    """``f(params, state, x, target, key, weights) -> product``, and ``product(tangent)`` is H tangent."""
    gradient = gradient_of_data(net, loss, batch_size)

    def hessian(params: PyTree, *given: Any) -> Callable[[PyTree], PyTree]:
        def product(tangent: PyTree) -> PyTree:
            return jax.jvp(lambda params: gradient(params, *given), (params,), (tangent,))[1]

        return product

    def gauss_newton(params: PyTree, *given: Any) -> Callable[[PyTree], PyTree]:
        def product(tangent: PyTree) -> PyTree:
            def one(
                params: PyTree, state: PyTree, x: PyTree, target: PyTree, key: Key, reduction: Any
            ) -> PyTree:
                def forward(params: PyTree) -> tuple[PyTree, PyTree]:
                    prediction, _, cache = net.forward(params, state, x, key)
                    return prediction, cache

                def slope(prediction: PyTree) -> PyTree:
                    losses, loss_cache = loss.forward(prediction, target)
                    return loss.backward(loss_cache, reduction(losses)[1])

                prediction, along, cache = jax.jvp(forward, (params,), (tangent,), has_aux=True)
                bent = jax.jvp(slope, (prediction,), (along,))[1]
                return _wide(net.backward(params, cache, bent)[0])

            return summed_over_parts(one, batch_size)(params, *given)

        return product

    return hessian if matrix == "hessian" else gauss_newton


def _wide(tree: PyTree) -> PyTree:
    """In float32 at least, so that parts add up without loss."""
    return jax.tree.map(lambda leaf: leaf.astype(accumulation_dtype(leaf.dtype)), tree)
