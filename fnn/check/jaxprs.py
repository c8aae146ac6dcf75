"""The one place that knows jaxprs: trace a function, walk its equations, evaluate and change them.

A `Program` is a traced function together with the rules that stand in for some of its equations. What
calls another function and nothing else (`jit`, `remat`, `custom_jvp`, `custom_vjp`) is entered, so that
a backward pass is one flat sequence; the bodies of `cond`, `scan` and `while` are entered too, and
remain bodies. An equation's address is its `Location`: its number in the outermost jaxpr, then for
each body on the way down the body's number and the equation's number in it.

    program = trace(backward, params, cache, dy)
    for location, equation in equations(program):
        print(source(equation), equation.primitive.name)
    gradient = evaluate(replace(program, location, rule), params, cache, dy)

A program holds for the shapes, dtypes and settings of its trace: evaluate it under the same ones, in
`exact` if it was traced there. What is not entered is opaque: a Pallas kernel, a `shard_map`.
Only jax's public names are used: `jax.make_jaxpr`, `jax.extend.core`, `jax.extend.source_info_util`.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.extend import source_info_util
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn, Literal, jaxpr_as_fun

from fnn.layer import PyTree

Location = tuple[int, ...]
Values = Sequence[Any]
Rule = Callable[[JaxprEqn, Values], Values]  # (equation, its inputs) -> its outputs
Visit = Callable[[Location, JaxprEqn, Values, Values], None]  # …, inputs, outputs
Enter = Callable[[int, Values], list[Any]]  # run a body of the equation at hand

_CUSTOM = frozenset(["custom_jvp_call", "custom_vjp_call"])
_CALLS = _CUSTOM | frozenset(
    ["call", "checkpoint", "closed_call", "jit", "pjit", "remat", "remat2"]
)
_FEW_PASSES = 64
_NO_RULES: Mapping[Location, Rule] = MappingProxyType({})


class Program(NamedTuple):
    """A function traced at some shapes, and what stands in for some of its equations."""

    jaxpr: ClosedJaxpr
    in_tree: Any  # of the tuple of arguments
    out_tree: Any
    rules: Mapping[Location, Rule] = _NO_RULES


def trace(function: Callable[..., PyTree], *arguments: PyTree) -> Program:
    """The program of ``function(*arguments)``: the shapes and dtypes count, the values do not."""

    def of_leaves(leaves: Values) -> PyTree:
        return function(*jax.tree.unflatten(in_tree, leaves))

    leaves, in_tree = jax.tree.flatten(arguments)
    jaxpr, shapes = jax.make_jaxpr(of_leaves, return_shape=True)(leaves)
    return Program(jaxpr, in_tree, jax.tree.structure(shapes))


def equations(program: Program) -> Iterator[tuple[Location, JaxprEqn]]:
    """(location, equation) of all that computes, bodies after their equation; no mere calls."""
    return _equations(program.jaxpr.jaxpr, ())


def _equations(jaxpr: Jaxpr, above: Location) -> Iterator[tuple[Location, JaxprEqn]]:
    for number, equation in enumerate(jaxpr.eqns):
        location = (*above, number)
        if not is_call(equation):
            yield location, equation
        for i, body in enumerate(bodies(equation)):
            yield from _equations(body.jaxpr, (*location, i))


def is_call(equation: JaxprEqn) -> bool:
    """Whether it only calls another function: `jit`, `remat` and those with custom derivatives."""
    return equation.primitive.name in _CALLS


def bodies(equation: JaxprEqn) -> tuple[ClosedJaxpr, ...]:
    """The jaxprs that are entered: that of a call, the branches of a `cond`, the body of a `scan`.

    A `while` has two, its condition and its body. Anything else has none.
    """
    name, parameters = equation.primitive.name, equation.params
    if name == "cond":
        return tuple(parameters["branches"])
    if name == "scan":
        return (parameters["jaxpr"],)
    if name == "while":
        return (parameters["cond_jaxpr"], parameters["body_jaxpr"])
    return (_called(equation),) if is_call(equation) else ()


def _called(equation: JaxprEqn) -> ClosedJaxpr:
    found = equation.params.get("call_jaxpr", equation.params.get("jaxpr"))
    if isinstance(found, ClosedJaxpr):
        return found
    if isinstance(found, Jaxpr) and not found.constvars:
        return ClosedJaxpr(found, ())
    raise TypeError(
        f"{equation.primitive.name}: expected a jaxpr among its parameters, got "
        f"{sorted(equation.params)}; this jax names it otherwise: amend fnn/check/jaxprs.py"
    )


def replace(program: Program, location: Location, rule: Rule) -> Program:
    """The program with ``rule(equation, inputs) -> outputs`` in place of one equation.

    The rule's outputs have the shapes and dtypes of the equation's own; `apply` gives those.

    Raises:
      KeyError: there is no equation at this location.
    """
    if location not in {address for address, _ in equations(program)}:
        raise KeyError(f"expected the location of an equation of this program, got {location}")
    return program._replace(rules=MappingProxyType({**program.rules, location: rule}))


def apply(equation: JaxprEqn, inputs: Values) -> list[Any]:
    """The outputs of one equation, for arrays or for tracers."""
    primitive = equation.primitive
    if not any(isinstance(value, Jaxpr | ClosedJaxpr) for value in equation.params.values()):
        found = primitive.bind(*inputs, **equation.params)
        return list(found) if primitive.multiple_results else [found]
    given = {
        variable: value
        for variable, value in zip(equation.invars, inputs, strict=True)
        if not isinstance(variable, Literal)
    }
    empty = jax.make_jaxpr(tuple)().jaxpr
    alone = empty.replace(
        invars=list(given), outvars=equation.outvars, eqns=[equation], effects=equation.effects
    )
    return list(jaxpr_as_fun(ClosedJaxpr(alone, ()))(*given.values()))


def evaluate(program: Program, *arguments: PyTree, visit: Visit | None = None) -> PyTree:
    """Run it one equation after another, on arrays, or on tracers inside of any transformation.

    `visit` is called after each equation that `equations` gives and that was reached, in a loop once
    for each pass. With it, conditions and loops run in Python.

    Raises:
      TypeError: the arguments are not of the tree that was traced, or `visit` meets a tracer where it
        needs a value to branch on.
    """
    leaves, tree = jax.tree.flatten(arguments)
    if tree != program.in_tree:
        raise TypeError(f"expected arguments of the tree {program.in_tree}, got {tree}")
    return jax.tree.unflatten(program.out_tree, _run(program, program.jaxpr, leaves, (), visit))


def without_custom_rules(function: Callable[..., PyTree]) -> Callable[..., PyTree]:
    """The same function, differentiated through its primal: no `custom_jvp`, no `custom_vjp`.

    Those inside of a `cond`, a `scan` or a `while` are gone as well. `stop_gradient` and
    `custom_linear_solve` keep their meaning, and what a Pallas kernel holds is not seen.
    """

    def plain(*arguments: PyTree) -> PyTree:
        return evaluate(trace(function, *arguments), *arguments)

    return plain


def source(*equations: JaxprEqn) -> str:
    """Where the user's code computes it: ``file.py:12``, or ``unknown``.

    What jax itself computes inside of `jit` names no line of the user's; given the equations that hold
    it as well, innermost first (see `enclosing`), the line is that of the first that names one.
    """
    for equation in equations:
        frame = source_info_util.summarize(equation.source_info).split(" (")[0]
        path, _, position = frame.rpartition("/")[2].partition(":")
        if position:
            return f"{path}:{position.partition(':')[0]}"
    return "unknown"


def enclosing(program: Program, location: Location) -> list[JaxprEqn]:
    """The equation at a location and those whose bodies hold it, innermost first."""
    found = [program.jaxpr.jaxpr.eqns[location[0]]]
    for body, number in zip(location[1::2], location[2::2], strict=True):
        found.append(bodies(found[-1])[body].jaxpr.eqns[number])
    return found[::-1]


def _run(
    program: Program, jaxpr: ClosedJaxpr, inputs: Values, above: Location, visit: Visit | None
) -> list[Any]:
    known = dict(zip(jaxpr.jaxpr.constvars, jaxpr.consts, strict=True))
    known.update(zip(jaxpr.jaxpr.invars, inputs, strict=True))

    def read(atom: Any) -> Any:
        return atom.val if isinstance(atom, Literal) else known[atom]

    for number, equation in enumerate(jaxpr.jaxpr.eqns):
        location = (*above, number)
        values = [read(atom) for atom in equation.invars]
        outputs = _step(program, equation, values, location, visit)
        if visit is not None and not is_call(equation):
            visit(location, equation, values, outputs)
        known.update(zip(equation.outvars, outputs, strict=True))
    return [read(atom) for atom in jaxpr.jaxpr.outvars]


def _step(
    program: Program, equation: JaxprEqn, inputs: Values, location: Location, visit: Visit | None
) -> list[Any]:
    if location in program.rules:
        return list(program.rules[location](equation, inputs))

    def enter(body: int, values: Values) -> list[Any]:
        return _run(program, bodies(equation)[body], values, (*location, body), visit)

    if is_call(equation):
        return enter(0, inputs)
    below = any(address[: len(location)] == location for address in program.rules)
    if bodies(equation) and (below or visit is not None or _has_custom_rules(equation)):
        unrolled = visit is not None or (below and _is_short(equation, inputs))
        if equation.primitive.name == "cond":
            return _cond(inputs, enter, len(bodies(equation)), unrolled)
        if equation.primitive.name == "scan":
            return _scan(equation, inputs, enter, unrolled)
        return _while(equation.params, inputs, enter, unrolled)
    return apply(equation, inputs)


def _is_short(equation: JaxprEqn, inputs: Values) -> bool:
    """Whether it is run sooner in Python than compiled: outside of `jit`, and a few passes."""
    outside = not any(isinstance(value, jax.core.Tracer) for value in inputs)
    return outside and equation.params.get("length", 0) <= _FEW_PASSES


def _has_custom_rules(equation: JaxprEqn) -> bool:
    return equation.primitive.name in _CUSTOM or any(
        _has_custom_rules(inner) for body in bodies(equation) for inner in body.jaxpr.eqns
    )


def _cond(inputs: Values, enter: Enter, branches: int, unrolled: bool) -> list[Any]:
    index, *operands = inputs
    if unrolled or not isinstance(index, jax.core.Tracer):
        return enter(min(max(int(index), 0), branches - 1), operands)
    return lax.switch(index, [partial(enter, i) for i in range(branches)], operands)


def _scan(equation: JaxprEqn, inputs: Values, enter: Enter, unrolled: bool) -> list[Any]:
    # Constants, carry, rows. How many of each there are has another name in every other version of jax;
    # rows and what is collected alone have an axis more outside than in the body.
    body_jaxpr = bodies(equation)[0].jaxpr
    carried = len(equation.outvars) - _deeper(equation.outvars, body_jaxpr.outvars)
    end = len(inputs) - _deeper(equation.invars, body_jaxpr.invars)
    constants, first, rows = inputs[: end - carried], inputs[end - carried : end], inputs[end:]
    length, reverse = equation.params["length"], equation.params["reverse"]

    def body(carry: list[Any], row: list[Any]) -> tuple[list[Any], list[Any]]:
        outputs = enter(0, [*constants, *carry, *row])
        return outputs[: len(first)], outputs[len(first) :]

    if not unrolled or length == 0:
        carry, collected = lax.scan(body, list(first), list(rows), length, reverse)
        return [*carry, *collected]
    carry, outputs = list(first), []
    for i in reversed(range(length)) if reverse else range(length):
        carry, row = body(carry, [lax.index_in_dim(leaf, i, keepdims=False) for leaf in rows])
        outputs.append(row)
    ordered = reversed(outputs) if reverse else outputs
    return [*carry, *(jnp.stack(column) for column in zip(*ordered, strict=True))]


def _deeper(outside: Sequence[Any], inside: Sequence[Any]) -> int:
    """How many of the variables have more axes outside than inside."""
    return sum(len(o.aval.shape) > len(i.aval.shape) for o, i in zip(outside, inside, strict=True))


def _while(
    parameters: Mapping[str, Any], inputs: Values, enter: Enter, unrolled: bool
) -> list[Any]:
    split = parameters["cond_nconsts"], parameters["cond_nconsts"] + parameters["body_nconsts"]
    tested, used = inputs[: split[0]], inputs[split[0] : split[1]]

    def goes_on(carry: Values) -> Any:
        return enter(0, [*tested, *carry])[0]

    def body(carry: Values) -> list[Any]:
        return enter(1, [*used, *carry])

    carry = list(inputs[split[1] :])
    if not unrolled:
        return lax.while_loop(goes_on, body, carry)
    while bool(goes_on(carry)):
        carry = body(carry)
    return carry
