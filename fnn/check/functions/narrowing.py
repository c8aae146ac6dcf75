"""Where a function leaves float64: what it computes in a lower dtype cannot be proved to 1e-10."""

from collections.abc import Iterable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import Literal

from fnn.check.functions.binding import Binding, vjp
from fnn.check.jaxprs import Program, enclosing, equations, source, trace
from fnn.check.remembered import by_shapes
from fnn.layer import PyTree


@by_shapes(1)
def narrowed(function: Binding, others: PyTree, x: PyTree) -> str:
    """The first operation on a wide float that gives a narrower one, in words; empty without one.

    Looked through are the function's own pass and that of its `jax.vjp`, which by a custom rule may be
    another program. What a Pallas kernel does inside is not seen; what goes in and comes out is.
    """
    for program in _programs(function, others, x):
        for location, equation in equations(program):
            # A Python number takes any dtype without a loss that matters, as the bounds of a draw do.
            taken = _floats(
                v
                for v in equation.invars
                if not isinstance(v, Literal) and not getattr(v.aval, "weak_type", False)
            )
            given = _floats(equation.outvars)
            if not taken or not given:
                continue
            wide, narrow = min(taken, key=_epsilon), max(given, key=_epsilon)
            if _epsilon(narrow) > _epsilon(wide):
                where = source(*enclosing(program, location))
                return f"makes {narrow} of {wide} ({equation.primitive.name} at {where})"
    return ""


@by_shapes(1)
def lowest_dtype(function: Binding, others: PyTree, x: PyTree) -> Any:
    """The floating dtype of the largest ε anywhere in the function and its `jax.vjp`."""
    found = _floats(jax.tree.leaves((others, x)))
    for program in _programs(function, others, x):
        for _, equation in equations(program):
            found += _floats([*equation.invars, *equation.outvars])
    return max(found, key=_epsilon)


def _programs(function: Binding, others: PyTree, x: PyTree) -> Iterator[Program]:
    def backward(others: PyTree, x: PyTree) -> PyTree:
        y, pull_back = vjp(function, others, x)
        return y, pull_back(y)

    yield trace(function, others, x)
    yield trace(backward, others, x)


def _floats(values: Iterable[Any]) -> list[Any]:
    """The floating dtypes among arrays, or among the variables of a jaxpr."""
    dtypes = [getattr(getattr(value, "aval", value), "dtype", None) for value in values]
    return [d for d in dtypes if d is not None and jnp.issubdtype(d, jnp.floating)]


def _epsilon(dtype: Any) -> float:
    return float(jnp.finfo(dtype).eps)
