"""Faults of single numbers: in a sum, a product, a function, a comparison and what it chooses."""

from collections.abc import Callable, Iterator
from typing import Any

from jax.extend.core import JaxprEqn

from fnn.check.mutation.rules import (
    Change,
    Family,
    Operator,
    instead,
    is_floating,
    on_operand,
)

# Arithmetic.


def _sum(equation: JaxprEqn) -> Iterator[Operator]:
    sign = -1 if equation.primitive.name == "sub" else 1
    yield instead("first operand dropped", lambda xp, a, b: b if sign > 0 else -b)
    yield instead("second operand dropped", lambda xp, a, b: a)
    yield instead(
        "- for +" if sign > 0 else "+ for -", lambda xp, a, b: a - b if sign > 0 else a + b
    )


def _product(equation: JaxprEqn) -> Iterator[Operator]:
    del equation  # all products are alike
    yield instead("first factor squared", lambda xp, a, b: a * a)
    yield instead("second factor squared", lambda xp, a, b: b * b)
    yield instead("+ for ×", lambda xp, a, b: a + b)
    yield instead("first factor dropped", lambda xp, a, b: b)
    yield instead("second factor dropped", lambda xp, a, b: a)


def _quotient(equation: JaxprEqn) -> Iterator[Operator]:
    yield instead("divisor dropped", lambda xp, a, b: a)
    yield instead("× for /", lambda xp, a, b: a * b)
    if is_floating(equation.outvars[0]):
        yield instead("upside down", lambda xp, a, b: b / a)
        yield instead("divisor squared", lambda xp, a, b: a / (b * b))


def _power(equation: JaxprEqn) -> Iterator[Operator]:
    y = equation.params["y"]
    for other in (y - 1, y + 1):
        yield instead(f"power {other} for {y}", lambda xp, a, other=other: a ** float(other))


def _choice(equation: JaxprEqn) -> Iterator[Operator]:
    other = {"max": "minimum", "min": "maximum"}[equation.primitive.name]
    yield instead(f"{other} in its place", lambda xp, a, b: getattr(xp, other)(a, b))
    yield instead("the first operand", lambda xp, a, b: a)
    yield instead("the second operand", lambda xp, a, b: b)


def _clamping(equation: JaxprEqn) -> Iterator[Operator]:
    del equation
    yield instead("not clamped", lambda xp, low, a, high: a)


def _unary(**functions: Change) -> Family:
    def family(equation: JaxprEqn) -> Iterator[Operator]:
        del equation
        yield instead("left away", lambda xp, a: a)
        for name, function in functions.items():
            yield instead(f"{name} in its place", function)

    return family


# Comparisons and what they choose.

_TURNED = {"gt": "lt", "ge": "le", "lt": "gt", "le": "ge", "eq": "ne", "ne": "eq"}
_STRICT = {"gt": "ge", "ge": "gt", "lt": "le", "le": "lt"}
_COMPARE: dict[str, Callable[[Any, Any], Any]] = {
    "gt": lambda a, b: a > b,
    "ge": lambda a, b: a >= b,
    "lt": lambda a, b: a < b,
    "le": lambda a, b: a <= b,
    "eq": lambda a, b: a == b,
    "ne": lambda a, b: a != b,
}


def _comparison(equation: JaxprEqn) -> Iterator[Operator]:
    name = equation.primitive.name
    for other in (_TURNED[name], _STRICT.get(name)):
        if other is not None:
            yield instead(f"{other} for {name}", lambda xp, a, b, f=_COMPARE[other]: f(a, b))
    yield instead("always", lambda xp, a, b: xp.asarray(True))
    yield instead("never", lambda xp, a, b: xp.asarray(False))
    if is_floating(equation.invars[0]):
        for step in (0.1, -0.1):
            yield on_operand(f"threshold moved by {-step}", 0, lambda xp, a, step=step: a + step)


def _selection(equation: JaxprEqn) -> Iterator[Operator]:
    cases = len(equation.invars) - 1
    if cases == 2:
        yield instead("cases swapped", lambda xp, which, a, b: xp.where(which, a, b))
    for i in range(cases):
        yield instead(f"always case {i}", lambda xp, which, *values, i=i: values[i])


def _logic(equation: JaxprEqn) -> Iterator[Operator]:
    other = {"and": "bitwise_or", "or": "bitwise_and", "xor": "bitwise_and"}
    function = other[equation.primitive.name]
    yield instead(f"{function} in its place", lambda xp, a, b: getattr(xp, function)(a, b))
    yield instead("the first operand", lambda xp, a, b: a)
    yield instead("the second operand", lambda xp, a, b: b)


FAMILIES: dict[str, Family] = {
    **dict.fromkeys(_TURNED, _comparison),
    "add": _sum,
    "add_any": _sum,
    "sub": _sum,
    "mul": _product,
    "div": _quotient,
    "integer_pow": _power,
    "square": _unary(double=lambda xp, a: 2 * a),
    "max": _choice,
    "min": _choice,
    "exp": _unary(expm1=lambda xp, a: xp.expm1(a), log=lambda xp, a: xp.log(xp.abs(a))),
    "expm1": _unary(exp=lambda xp, a: xp.exp(a)),
    "log": _unary(log1p=lambda xp, a: xp.log1p(a), exp=lambda xp, a: xp.exp(a)),
    "log1p": _unary(log=lambda xp, a: xp.log(a)),
    "tanh": _unary(logistic=lambda xp, a: 1 / (1 + xp.exp(-a))),
    "logistic": _unary(tanh=lambda xp, a: xp.tanh(a)),
    "sqrt": _unary(rsqrt=lambda xp, a: 1 / xp.sqrt(a)),
    "rsqrt": _unary(sqrt=lambda xp, a: xp.sqrt(a), reciprocal=lambda xp, a: 1 / a),
    "sin": _unary(cos=lambda xp, a: xp.cos(a)),
    "cos": _unary(sin=lambda xp, a: xp.sin(a)),
    "abs": _unary(sign=lambda xp, a: xp.sign(a)),
    "sign": _unary(abs=lambda xp, a: xp.abs(a)),
    "not": _unary(),
    "rev": _unary(),
    "clamp": _clamping,
    "and": _logic,
    "or": _logic,
    "xor": _logic,
    "select_n": _selection,
}
