"""Gates of several inputs, element by element: add, the distributor, and multiply, the switcher.

Their input is a tuple, list or dictionary of arrays, such as `parallel` returns. All are of one shape: a
sum that broadcast would hide a wrong width.
"""

from functools import reduce
from typing import Any, NamedTuple

import jax

from fnn.dtypes import accumulation_dtype, check_inexact, computing_dtype
from fnn.layer import Array, Layer, PyTree, Static, pure


class AddCache(NamedTuple):
    """The terms' dtypes, and the tree that they came in; no array."""

    dtypes: Static[tuple[Any, ...]]
    tree: Static[Any]


class MultiplyCache(NamedTuple):
    """The factors: each one's gradient is the product of the others."""

    x: PyTree


def add() -> Layer:
    """The sum of several arrays: the distributor of gradients.

    Forward: ``y = Σ_k x_k``. Backward: every term gets the whole gradient, ``dx_k = dy``. Shapes: x a
    tuple, list or dictionary of at least one array, all of y's shape. The terms meet in the widest of
    their dtypes, and in float32 at least. Cache: dtypes, no array. Source: Linnainmaa (1976).

    Raises:
      TypeError: a term is of integers.
      ValueError: there is no term, or two differ in shape.
    """

    def forward(params: tuple[()], x: PyTree) -> tuple[Array, AddCache]:
        del params  # there are none
        terms, tree = jax.tree.flatten(x)
        dtype, wide = _meet("add", x)
        y = reduce(lambda a, b: a + b, (term.astype(wide) for term in terms))
        return y.astype(dtype), AddCache(Static(tuple(t.dtype for t in terms)), Static(tree))

    def backward(params: tuple[()], cache: AddCache, dy: Array) -> tuple[tuple[()], PyTree]:
        dtypes, tree = cache.dtypes.value, cache.tree.value
        return params, jax.tree.unflatten(tree, [dy.astype(dtype) for dtype in dtypes])

    return pure("add", forward, backward)


def multiply() -> Layer:
    """The product of several arrays: the switcher, and scaler, of gradients.

    Forward: ``y = Π_k x_k``. Backward: ``dx_k = dy · Π_{j≠k} x_j``, of two factors the other one; the
    products are taken from both ends, without a division, so that a factor may be 0. Shapes: x a tuple,
    list or dictionary of at least one array, all of y's shape. The factors meet in the widest of their
    dtypes, and in float32 at least. Cache: the factors. Source: Speelpenning (1980).

    Raises:
      TypeError: a factor is of integers.
      ValueError: there is no factor, or two differ in shape.
    """

    def forward(params: tuple[()], x: PyTree) -> tuple[Array, MultiplyCache]:
        del params  # there are none
        dtype, wide = _meet("multiply", x)
        y = reduce(lambda a, b: a * b, (factor.astype(wide) for factor in jax.tree.leaves(x)))
        return y.astype(dtype), MultiplyCache(x)

    def backward(params: tuple[()], cache: MultiplyCache, dy: Array) -> tuple[tuple[()], PyTree]:
        factors, tree = jax.tree.flatten(cache.x)
        _, wide = _meet("multiply", cache.x)
        before = [factors[0].astype(wide)]  # products of the first factors: x_0, x_0 x_1, …
        for factor in factors[1:-1]:
            before.append(before[-1] * factor.astype(wide))
        after, gradients = dy.astype(wide), []  # dy times the product of the last factors
        for k in range(len(factors) - 1, 0, -1):
            gradients.append(after * before[k - 1])
            after = after * factors[k].astype(wide)
        gradients.append(after)
        dx = [d.astype(f.dtype) for d, f in zip(reversed(gradients), factors, strict=True)]
        return params, jax.tree.unflatten(tree, dx)

    return pure("multiply", forward, backward)


def _meet(name: str, x: PyTree) -> tuple[Any, Any]:
    """The dtype of y and the one to compute in, after a look at the arrays."""
    arrays = jax.tree.leaves(x)
    if not arrays:
        raise ValueError(f"{name}: expected a tuple, list or dictionary of arrays, got {x!r}")
    for array in arrays:
        check_inexact(array)
    if any(array.shape != arrays[0].shape for array in arrays):
        raise ValueError(
            f"{name}: expected arrays of one shape, got {[array.shape for array in arrays]}"
        )
    dtype = computing_dtype(*arrays)
    return dtype, accumulation_dtype(dtype)
