"""Where a hand-written gradient decides: every comparison of floats in its forward and backward pass.

The forward pass belongs to it, since a mask may be cached there, and since a backward pass may have
forgotten a branch that the forward pass has. A site's margin is an array that is negative on one side and
positive on the other: lhs − rhs for a comparison, a maximum or a minimum.

Not a site: a comparison of integers or of constants, a test for NaN (``x != x``), and a `where` or `cond`
whose predicate is one comparison, which is a site itself.
"""

import functools
import math
from collections.abc import Callable, Hashable, Mapping
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import JaxprEqn, Literal

from fnn.check import jaxprs
from fnn.check.precision import exact, is_real
from fnn.check.subject import Subject, Vector, from_vector, split

Key = tuple[jaxprs.Location, int]  # an equation, and which of its margins
Margins = Mapping[Key, Vector]

_SYMBOLS = {"gt": ">", "ge": ">=", "lt": "<", "le": "<=", "eq": "==", "ne": "!="}
_WORDS = {"max": "maximum", "min": "minimum"}
_CHOICES = ("select_n", "cond")
_BRANCHING = ("cond", "while")


class Site(NamedTuple):
    """One decision. `sides` maps a side's name to whether a margin lies on it."""

    source: str
    operation: str
    sides: Mapping[str, Callable[[Vector], Vector]]


class Watch:
    """The sites of a subject, and their margins at any point: a function of the real leaves.

    `sites` grows as they are met, since a `cond` hides those of the branch that is not taken.
    """

    def __init__(self, subject: Subject, dy: Any) -> None:
        self._real, self._merge = split(subject.params, subject.x)
        with exact():
            self._rest = subject.state, subject.key, jax.tree.map(jnp.asarray, dy)
            leaves, tree = jax.tree.flatten(
                (subject.params, subject.state, subject.x, *self._rest[1:])
            )
            shapes = tuple(jax.ShapeDtypeStruct(np.shape(a), jnp.result_type(a)) for a in leaves)
            passes = cast(Hashable, subject.forward), cast(Hashable, subject.backward)
            self._plan = _plan(*passes, tree, shapes)
        self.sites, self.size, self.empty = self._plan.sites, self._plan.size, self._plan.empty

    def __call__(self, vector: Vector) -> Margins:
        """The margins of all sites that are met where the real leaves are those of `vector`."""
        state, key, dy = self._rest
        with exact(), np.errstate(all="ignore"):
            params, x = self._merge(from_vector(vector, self._real))
            found = self._plan.run(params, state, x, key, dy)
            return {site: np.asarray(margin) for site, margin in found.items()}


class _Plan(NamedTuple):
    """What depends on a subject's two passes and on shapes alone: traced and compiled once."""

    sites: dict[Key, Site]
    size: int  # equations, with the loops unrolled
    empty: bool
    run: Callable[..., dict[Key, Any]]


@functools.lru_cache(maxsize=32)
def _plan(
    forward: Callable[..., Any], backward: Callable[..., Any], tree: Any, leaves: tuple[Any, ...]
) -> _Plan:
    def gradient(params: Any, state: Any, x: Any, key: Any, dy: Any) -> Any:
        y, _, cache = forward(params, state, x, key)
        return y, backward(params, cache, dy)

    program = jaxprs.trace(gradient, *jax.tree.unflatten(tree, leaves))
    located = list(jaxprs.equations(program))
    found = [equation for _, equation in located]
    passes = {
        location: equation.params["length"]
        for location, equation in located
        if equation.primitive.name == "scan"
    }
    size = sum(
        math.prod(passes.get(location[:k], 1) for k in range(len(location)))
        for location, _ in located
    )
    # Whatever else there is decides by a comparison of floats.
    empty = not any(
        _margins(equation) for equation in found if equation.primitive.name not in _CHOICES
    )
    platform = set()
    for location, equation in located:
        if equation.primitive.name == "platform_index":
            platform.update(equation.outvars)
            (index,) = jaxprs.apply(equation, ())
            program = jaxprs.replace(program, location, _constant(int(index)))
    # Where a value decides which equations run, there is nothing to compile.
    compiled = not any(
        equation.primitive.name in _BRANCHING and equation.invars[0] not in platform
        for equation in found
    )
    sites: dict[Key, Site] = {}
    run = functools.partial(_evaluate, program, sites)
    return _Plan(sites, size, empty, jax.jit(run) if compiled else _on_arrays(run))


def _on_arrays(run: Callable[..., dict[Key, Any]]) -> Callable[..., dict[Key, Any]]:
    """The same of jax's arrays, as `jit` makes them: NumPy's could be taken for constants."""
    return lambda *arguments: run(
        *jax.tree.map(lambda a: jnp.asarray(a) if isinstance(a, np.ndarray) else a, arguments)
    )


def _evaluate(
    program: jaxprs.Program,
    sites: dict[Key, Site],
    params: Any,
    state: Any,
    x: Any,
    key: Any,
    dy: Any,
) -> dict[Key, Any]:
    leaves = [leaf for leaf in jax.tree.leaves((params, x)) if is_real(leaf)]
    given = jax.tree.leaves((params, state, x, key, dy))
    # Values are known by identity; `held` keeps them alive, so that no identity comes twice. A
    # value that is not known, such as one row of a loop's input, may depend on x.
    held: list[Any] = [*given, *program.jaxpr.consts]
    fixed = {id(value) for value in held} - {id(leaf) for leaf in leaves}
    origin: dict[int, frozenset[Key]] = {}
    found: dict[Key, list[Any]] = {}

    def visit(location: jaxprs.Location, equation: JaxprEqn, inputs: Any, outputs: Any) -> None:
        held.extend(outputs)
        if all(
            # A literal, wherever it was written, is no array of jax's.
            not isinstance(value, jax.Array) or id(value) in fixed
            for value in inputs
        ):
            fixed.update(id(value) for value in outputs)
            return
        sources = frozenset[Key]().union(*(origin.get(id(v), frozenset()) for v in inputs))
        name = equation.primitive.name
        of = _margins(equation)
        if name in _CHOICES:
            above = origin.get(id(inputs[0]), frozenset())
            of = of if len(above) > 1 else None
        if of is not None and not (name in _SYMBOLS and inputs[0] is inputs[1]):
            for k, (operation, sides, margin) in enumerate(of):
                site = (location, k)
                source = jaxprs.source(*jaxprs.enclosing(program, location))
                sites[site] = Site(source, operation, sides)
                found.setdefault(site, []).append(jnp.ravel(margin(*inputs)))
            if name in _SYMBOLS:
                sources = frozenset([(location, 0)])
        for value in outputs:
            if sources and not jnp.issubdtype(jnp.result_type(value), jnp.floating):
                origin[id(value)] = sources

    jaxprs.evaluate(program, params, state, x, key, dy, visit=visit)
    return {site: jnp.concatenate(margins) for site, margins in found.items()}


def _constant(index: int) -> jaxprs.Rule:
    """In place of an equation that gives the number of this platform."""
    return lambda equation, inputs: [np.int32(index)]


_TWO = {"true": lambda m: m > 0, "false": lambda m: m < 0}
_SIDES: dict[str, Mapping[str, Callable[[Vector], Vector]]] = {
    "gt": {"true": lambda m: m > 0, "false": lambda m: m <= 0},
    "ge": {"true": lambda m: m >= 0, "false": lambda m: m < 0},
    "lt": {"true": lambda m: m < 0, "false": lambda m: m >= 0},
    "le": {"true": lambda m: m <= 0, "false": lambda m: m > 0},
    "eq": {"true": lambda m: m == 0, "false": lambda m: m != 0},
    "ne": {"true": lambda m: m != 0, "false": lambda m: m == 0},
    "max": {"the first is larger": lambda m: m > 0, "the second is larger": lambda m: m < 0},
    "min": {"the first is larger": lambda m: m > 0, "the second is larger": lambda m: m < 0},
}
_SIGNS = {"negative": lambda m: m < 0, "positive": lambda m: m > 0}
_Margin = tuple[str, Mapping[str, Callable[[Vector], Vector]], Callable[..., Any]]


def _margins(equation: JaxprEqn) -> list[_Margin] | None:
    """(operation, sides, margin of the inputs) of each decision that an equation makes."""
    name, operands = equation.primitive.name, equation.invars
    dtype = getattr(operands[0].aval, "dtype", None) if operands else None
    if name == "select_n":
        return [("where", _TWO, lambda which, *_: which - 0.5)] if dtype == np.bool_ else None
    if name == "cond":
        return [
            (f"cond, a branch after {k}", _TWO, lambda which, *_, k=k: which - (k + 0.5))
            for k in range(len(jaxprs.bodies(equation)) - 1)
        ]
    if dtype is None or not jnp.issubdtype(dtype, jnp.floating):
        return None
    if name in _SIDES:
        return [(_described(name, operands), _SIDES[name], lambda a, b: jnp.subtract(a, b))]
    if name in ("abs", "sign"):
        return [(name, _SIGNS, lambda a: a)]
    if name == "clamp":
        below = {"below": _SIGNS["negative"], "not below": _SIGNS["positive"]}
        beyond = {"not beyond": _SIGNS["negative"], "beyond": _SIGNS["positive"]}
        return [
            ("clamp, lower bound", below, lambda low, x, high: jnp.subtract(x, low)),
            ("clamp, upper bound", beyond, lambda low, x, high: jnp.subtract(x, high)),
        ]
    return None


def _described(name: str, operands: Any) -> str:
    """Such as ``> 3``: the other operand where it is a constant."""
    symbol = _SYMBOLS.get(name) or _WORDS[name]
    constants = [operand.val for operand in operands if isinstance(operand, Literal)]
    if not constants:
        return symbol
    value = f"{float(constants[0]):g}"
    return f"{symbol} {value}" if isinstance(operands[1], Literal) else f"{value} {symbol}"
