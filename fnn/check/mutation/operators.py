"""The faults that one equation can carry: what a slip of the pen makes of an addition, a product, a sum.

`operators(equation)` gives them as rules (see `fnn.check.jaxprs`) under names that a person can read.
"""

from collections.abc import Iterator

import numpy as np
from jax.extend.core import JaxprEqn, Literal

from fnn.check.jaxprs import bodies
from fnn.check.mutation import arithmetic, arrays
from fnn.check.mutation.rules import Operator, afterwards, dtype_of, is_floating, on_operand

SLIGHTLY = 1.001  # the smallest factor that a person mistakes


def operators(equation: JaxprEqn) -> Iterator[Operator]:
    """Every fault this module knows for an equation; none for those without a value of their own."""
    if bodies(equation) or len(equation.outvars) != 1 or dtype_of(equation.outvars[0]) is None:
        return
    name = equation.primitive.name
    if name in _FAMILIES:
        yield from _FAMILIES[name](equation)
    yield from _constants(equation)
    if is_floating(equation.outvars[0]) and name not in _PLUMBING:
        yield from _of_any_value(equation)
    if name in _COUNTING:
        yield afterwards(equation, "1 too many", lambda xp, out: out + 1)


def _of_any_value(equation: JaxprEqn) -> Iterator[Operator]:
    yield afterwards(equation, "negated", lambda xp, out: -out)
    yield afterwards(equation, f"times {SLIGHTLY}", lambda xp, out: out * SLIGHTLY)
    yield afterwards(equation, "left out (0)", lambda xp, out: xp.zeros_like(out))
    if dtype_of(equation.outvars[0]) == np.float64:
        yield afterwards(equation, "through float32", lambda xp, out: out.astype(np.float32))
    for i, atom in enumerate(equation.invars):
        if not isinstance(atom, Literal) and is_floating(atom):
            yield on_operand(f"ones for operand {i}", i, lambda xp, a: xp.ones_like(a))


def _constants(equation: JaxprEqn) -> Iterator[Operator]:
    for i, atom in enumerate(equation.invars):
        if not isinstance(atom, Literal) or dtype_of(atom) == np.dtype(bool):
            continue
        for step in (1, -1):
            name = f"constant {np.asarray(atom.val)} {'+' if step > 0 else '-'} 1"
            yield on_operand(name, i, lambda xp, a, step=step: a + np.asarray(step).astype(a.dtype))
        if is_floating(atom) and np.any(np.asarray(atom.val)):
            name = f"constant {np.asarray(atom.val)} × {SLIGHTLY}"
            yield on_operand(name, i, lambda xp, a: a * SLIGHTLY)


_FAMILIES = arithmetic.FAMILIES | arrays.FAMILIES
# A slip here is one in the equation before or after.
_PLUMBING = frozenset(
    ["broadcast_in_dim", "squeeze", "convert_element_type", "copy", "slice", "pad"]
)
_COUNTING = frozenset(["iota", "argmax", "argmin"])
