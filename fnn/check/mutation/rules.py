"""What a fault is made of: an operand, the output or a parameter of one equation, changed.

Each keeps shapes and dtypes, so that a mutant runs wherever the backward pass runs. On arrays the
changes compute in NumPy, where nothing has to be compiled; on tracers in jax.
"""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import JaxprEqn

from fnn.check.jaxprs import Rule, Values, apply


class Operator(NamedTuple):
    """One fault of one equation."""

    name: str
    rule: Rule


Family = Callable[[JaxprEqn], Iterator[Operator]]  # the faults of all equations of one kind
Change = Callable[..., Any]  # (numpy or jax.numpy, arrays…) -> array


def numbers_of(*values: Any) -> Any:
    """NumPy for arrays, jax's for tracers."""
    return jnp if any(isinstance(value, jax.core.Tracer) for value in values) else np


def dtype_of(atom: Any) -> Any:
    """Of a variable or a literal; None where that is no number (a key)."""
    dtype = getattr(atom.aval, "dtype", None)
    return dtype if isinstance(dtype, np.dtype) else None


def is_floating(atom: Any) -> bool:
    """Whether a variable or a literal has derivatives."""
    dtype = dtype_of(atom)
    return dtype is not None and jnp.issubdtype(dtype, jnp.floating)


def shape_of(atom: Any) -> tuple[int, ...]:
    """Of a variable or a literal."""
    return tuple(atom.aval.shape)


def _fitted(equation: JaxprEqn, value: Any) -> list[Any]:
    """`value` in the shape and dtype of the equation's output."""
    shape, xp = shape_of(equation.outvars[0]), numbers_of(value)
    return [xp.broadcast_to(xp.asarray(value).astype(dtype_of(equation.outvars[0])), shape)]


def instead(name: str, function: Change) -> Operator:
    """``function(xp, *inputs)`` in place of the equation."""

    def rule(equation: JaxprEqn, inputs: Values) -> Values:
        xp = numbers_of(*inputs)
        with np.errstate(all="ignore"):  # a fault may divide by 0
            value = function(xp, *(xp.asarray(value) for value in inputs))
        return _fitted(equation, value)

    return Operator(name, rule)


def afterwards(equation: JaxprEqn, name: str, function: Change) -> Operator:
    """``function(xp, output)`` of the right output."""

    def rule(equation: JaxprEqn, inputs: Values) -> Values:
        (right,) = apply(equation, inputs)
        xp = numbers_of(right)
        return _fitted(equation, function(xp, xp.asarray(right)))

    return Operator(name, rule)


def on_operand(name: str, position: int, function: Change) -> Operator:
    """The equation of ``function(xp, operand)`` in place of one operand."""

    def rule(equation: JaxprEqn, inputs: Values) -> Values:
        value = inputs[position]
        xp = numbers_of(value)
        array = xp.asarray(value)
        changed = function(xp, array).astype(array.dtype)
        return apply(equation, [*inputs[:position], changed, *inputs[position + 1 :]])

    return Operator(name, rule)


def with_parameters(name: str, equation: JaxprEqn, **changes: Any) -> Operator:
    """The equation with other parameters."""
    changed = equation.replace(params={**equation.params, **changes})
    return Operator(name, lambda _, inputs: apply(changed, inputs))
