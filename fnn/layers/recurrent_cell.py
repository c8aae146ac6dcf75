"""What a recurrent cell is: one step, and its derivative, from which a layer over time is made.

A cell maps what it carries and one input to what it carries on. All gates are functions of two
products, of the input and of the hidden state before it:

    step(params, before, x)              -> after
    back(params, before, h, x, dafter)   -> (dbefore, delta)      h = after.h
    gradients(params, before, x, delta)  -> (dparams, dx)

`back` computes the gates again, so that no gate is cached, and gives as `delta` the derivatives by
whatever the weights produce. `gradients` turns these into those of the weights, for one step or, as
single products, for all steps at once. `recurrent` runs the three over time, `as_layer` once.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from fnn.dtypes import accumulation_dtype, check_inexact, computing_dtype, parameter_dtype
from fnn.initializers import Initializer
from fnn.layer import Array, Key, Layer, PyTree, pure
from fnn.layers.partitioned import partitioned
from fnn.random import child_key


class HiddenCarry(NamedTuple):
    """What a network with one hidden state carries from step to step."""

    h: Array  # (N, H)


class Cell(NamedTuple):
    """A recurrent cell; its arrays may have axes for time and batch in front of the last one."""

    name: str
    features: int  # H
    carry: Callable[[Any], Any]  # a hidden state (N, H) of zeros -> the carry to begin with
    init: Callable[[Key, int, Any], PyTree]  # (key, D, dtype) -> params
    step: Callable[[PyTree, Any, Array], Any]
    back: Callable[[PyTree, Any, Array, Array, Any], tuple[Any, PyTree]]
    gradients: Callable[[PyTree, Any, Array, PyTree], tuple[PyTree, Array]]


class CellCache(NamedTuple):
    """What the backward pass of a single step needs."""

    x: Array  # (N, D)
    before: Any  # the carry that came in
    h: Array  # (N, H), the hidden state that went out


def as_layer(cell: Cell) -> Layer:
    """The layer of one step, ``(carry, x) -> (carry, y)``, where y is the new hidden state."""

    def init(key: Key, x: PyTree) -> PyTree:
        _, x = _carry_and_x(cell.name, x)
        check_input(cell.name, x, 2, "(N, inputs)")
        return cell.init(key, x.shape[-1], parameter_dtype(x))

    def forward(params: PyTree, x: PyTree) -> tuple[PyTree, CellCache]:
        carry, x = _carry_and_x(cell.name, x)
        check_input(cell.name, x, 2, "(N, inputs)", params)
        check_carry(cell, carry, x.shape[0])
        wide, weights = prepare(params, x, carry)
        after = cell.step(weights, _cast(carry, wide), x)
        out = jax.tree.map(lambda new, old: new.astype(old.dtype), after, carry)
        return (out, after.h.astype(x.dtype)), CellCache(x, carry, out.h)

    def backward(params: PyTree, cache: CellCache, dy: PyTree) -> tuple[PyTree, PyTree]:
        x, carry, h = cache
        wide, weights = prepare(params, x, carry)
        dafter, dh = _cast(dy, wide)
        dafter = dafter._replace(h=dafter.h + dh)
        before = _cast(carry, wide)
        dbefore, delta = cell.back(weights, before, h.astype(wide), x, dafter)
        dparams, dx = cell.gradients(weights, before, x, delta)
        like = jax.tree.map(lambda d, p: d.astype(p.dtype), (dparams, dbefore), (params, carry))
        return like[0], (like[1], dx.astype(x.dtype))

    return pure(f"{cell.name}_cell({cell.features})", forward, backward, init)


def prepare(params: PyTree, x: Array, carry: PyTree) -> tuple[Any, PyTree]:
    """The dtype that a step runs in, and the parameters in the dtype that they are multiplied in."""
    dtype = computing_dtype(x, *jax.tree.leaves(params), *jax.tree.leaves(carry))
    return accumulation_dtype(dtype), _cast(params, dtype)


def product(a: Array, w: Array) -> Array:
    """``a w`` for weights of any dtype, summed in float32 at least."""
    return jnp.matmul(a.astype(w.dtype), w, preferred_element_type=accumulation_dtype(w.dtype))


def transposed_product(a: Array, b: Array, w: Array) -> Array:
    """``Σ aᵀ b`` over time and batch, the gradient of the weights w in ``a w`` of the derivative b."""
    if partitioned():  # whose rows, in one, would have to be gathered
        summed = tuple(range(a.ndim - 1))
        return jax.lax.dot_general(
            a.astype(w.dtype),
            b.astype(w.dtype),
            ((summed, summed), ((), ())),
            preferred_element_type=accumulation_dtype(w.dtype),
        )
    rows = math.prod(a.shape[:-1])  # not -1, which an empty batch leaves open
    return product(
        a.reshape(rows, a.shape[-1]).T.astype(w.dtype),
        b.reshape(rows, b.shape[-1]).astype(w.dtype),
    )


def sum_over_steps(d: Array) -> Array:
    """The gradient of a bias: the sum over time and batch."""
    return d.sum(axis=tuple(range(d.ndim - 1)))


def blocks(z: Array, features: int) -> list[Array]:
    """The last axis cut into pieces of `features`, one a gate."""
    return [z[..., i : i + features] for i in range(0, z.shape[-1], features)]


def kernel(
    initializer: Initializer, key: Key, inputs: int, features: int, gates: int, dtype: Any
) -> Array:
    """The weights of several gates side by side, each drawn as a matrix of its own."""
    drawn = [
        initializer(child_key(key, str(gate)), (inputs, features), dtype) for gate in range(gates)
    ]
    return drawn[0] if gates == 1 else jnp.concatenate(drawn, axis=1)


def check_features(name: str, features: int) -> None:
    """Refuse a layer without a unit."""
    if features < 1:
        raise ValueError(f"{name}: expected at least one feature, got {features}")


def check_input(name: str, x: Array, axes: int, shape: str, params: Any = None) -> None:
    """Refuse another rank, another width than the parameters were made for, and integers.

    Raises:
      TypeError: x is of integers.
      ValueError: its shape does not fit.
    """
    width = None if params is None else params.w_x.shape[0]
    if x.ndim != axes or x.shape[-1] < 1 or width not in (None, x.shape[-1]):
        shape = shape if width is None else shape.replace("inputs", str(width))
        raise ValueError(f"{name}: expected x of shape {shape}, got {x.shape}")
    check_inexact(x)


def check_carry(cell: Cell, carry: Any, batch: int) -> None:
    """Refuse a carry of another cell, batch or width.

    Raises:
      TypeError: it is of integers.
      ValueError: its tree or its shapes do not fit.
    """
    shape = (batch, cell.features)
    expected = cell.carry(jax.ShapeDtypeStruct(shape, jnp.float32))
    if not isinstance(carry, type(expected)):
        raise ValueError(
            f"{cell.name}: expected a carry {type(expected).__name__}({', '.join(expected._fields)}), "
            f"got {type(carry).__name__}"
        )
    for name, leaf in zip(expected._fields, carry, strict=True):
        if leaf.shape != shape:
            raise ValueError(
                f"{cell.name}: expected a carry with {name} of shape {shape}, got {leaf.shape}"
            )
        check_inexact(leaf)


def _carry_and_x(name: str, x: PyTree) -> tuple[Any, Array]:
    if not isinstance(x, tuple | list) or len(x) != 2:
        raise ValueError(f"{name}_cell: expected (carry, x), got {type(x).__name__}")
    return x[0], x[1]


def _cast(tree: PyTree, dtype: Any) -> PyTree:
    return jax.tree.map(lambda leaf: leaf.astype(dtype), tree)
