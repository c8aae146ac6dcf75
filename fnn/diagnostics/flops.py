"""Floating-point operations of a jax program, counted from its jaxpr without running it.

What counts, and how much, for one equation:

    dot_general             2 · outputs · contracted length           (a multiply-add is two)
    conv_general_dilated    2 · outputs · window · input channels of a group; padding and the zeros of
                            a dilated input are multiplied and therefore counted
    reductions, scans over  1 an input element; a windowed one, 1 an element of every window
    an axis (cumsum …)
    scatters that combine   1 an update element
    moving, reshaping, converting, constants, keys, the choice of a platform        nothing
    everything else         1 an output element, whether it is an addition, a logarithm or a
                            comparison, of floats or of integers

An equation whose results nobody uses is not counted, since XLA removes it. The body of a `scan` counts
`length` times, that of a `while_loop` once (its trips are not known), the dearest branch of a `cond`
once, and of `platform_dependent` the branch of the platform at hand.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn, Literal, Var

from fnn.layer import PyTree

_FREE = frozenset((
    "bitcast_convert_type", "broadcast", "broadcast_in_dim", "concatenate",
    "convert_element_type", "copy", "copy_p", "create_token", "device_put", "dynamic_slice",
    "dynamic_update_slice", "empty", "empty2", "expand_dims", "gather", "iota",
    "layout_constraint", "opt_barrier", "optimization_barrier", "pad", "platform_index",
    "random_clone", "random_fold_in", "random_seed", "random_split", "random_unwrap",
    "random_wrap", "reduce_precision", "reshape", "rev", "scatter", "sharding_constraint",
    "slice", "split", "squeeze", "stop_gradient", "transpose",
))  # fmt: skip
_OVER_INPUT = frozenset((
    "argmax", "argmin", "cumlogsumexp", "cummax", "cummin", "cumprod", "cumsum", "reduce",
    "reduce_and", "reduce_max", "reduce_min", "reduce_or", "reduce_prod", "reduce_sum",
    "reduce_xor", "sort",
))  # fmt: skip
# Primitives whose inner program is the scalar operation between two elements.
_SCALAR_PROGRAM = ("reduce", "scatter", "select_and_")
# Calls whose inputs and outputs are those of the inner program, one by one.
_PLAIN_CALLS = frozenset(
    ["checkpoint", "closed_call", "custom_jvp_call", "custom_vjp_call", "jit", "pjit", "remat2"]
)


def count_flops(function: Callable[..., PyTree], *args: PyTree) -> int:
    """The operations of ``function(*args)``; the arguments are arrays or ShapeDtypeStructs."""
    return sum(flops_by_call(jax.make_jaxpr(function)(*args)).values())


def flops_by_call(program: ClosedJaxpr, names: frozenset[str] = frozenset()) -> Counter[str]:
    """The operations of a program, by the jitted function that they are made in.

    Operations inside a call of a jitted function with a name in `names` are counted under that name (the
    outermost, if they are nested), all others under "". A call in a scan counts once a round.
    """
    counts: Counter[str] = Counter()
    jaxpr = program.jaxpr
    _count(jaxpr, [True] * len(jaxpr.outvars), 1, names, "", counts)
    return counts


def _count(
    jaxpr: Jaxpr,
    wanted: Sequence[bool],
    times: int,
    names: frozenset[str],
    name: str,
    counts: Counter[str],
) -> list[bool]:
    """Add the operations that the wanted outputs need; which inputs those need."""
    live: set[Var] = {
        var
        for var, is_wanted in zip(jaxpr.outvars, wanted, strict=True)
        if is_wanted and not isinstance(var, Literal)
    }
    for equation in reversed(jaxpr.eqns):
        used = [var in live for var in equation.outvars]
        if not any(used) and not equation.effects:
            continue
        needed = _count_equation(equation, used, times, names, name, counts)
        live.update(
            var
            for var, is_needed in zip(equation.invars, needed, strict=True)
            if is_needed and not isinstance(var, Literal)
        )
    return [var in live for var in jaxpr.invars]


def _count_equation(
    equation: JaxprEqn,
    used: list[bool],
    times: int,
    names: frozenset[str],
    name: str,
    counts: Counter[str],
) -> list[bool]:
    """The same for one equation, whose outputs in `used` are needed."""
    kind, inner = equation.primitive.name, list(_inner(equation))
    every_input = [True] * len(equation.invars)
    if not inner:
        counts[name] += times * _operations(equation)
        return every_input
    if kind == "cond":
        dearest = max((_alone(branch, used, names, name) for branch in inner), key=Counter.total)
        counts.update({key: times * value for key, value in dearest.items()})
        return every_input
    if kind == "scan":
        times *= equation.params["length"]
    called = str(equation.params.get("name", ""))
    inside = called if not name and called in names else name
    if len(inner) == 1 and kind in _PLAIN_CALLS:  # so what is unused inside is known
        return _count(inner[0], used, times, names, inside, counts)
    for body in inner:
        _count(body, [True] * len(body.outvars), times, names, inside, counts)
    return every_input


def _alone(jaxpr: Jaxpr, used: list[bool], names: frozenset[str], name: str) -> Counter[str]:
    counts: Counter[str] = Counter()
    _count(jaxpr, used, 1, names, name, counts)
    return counts


def _inner(equation: JaxprEqn) -> Iterator[Jaxpr]:
    """The jaxprs within an equation that would run here."""
    kind, params = equation.primitive.name, equation.params
    if kind.startswith(_SCALAR_PROGRAM):
        return
    if kind == "cond" and "branches_platforms" in params:
        platform = jax.default_backend()
        listed = params["branches_platforms"]
        chosen = [
            branch
            for branch, platforms in zip(params["branches"], listed, strict=True)
            if platforms is None or platform in platforms
        ]
        yield chosen[0].jaxpr
        return
    for value in params.values():
        for candidate in value if isinstance(value, tuple | list) else (value,):
            if isinstance(candidate, ClosedJaxpr):
                yield candidate.jaxpr
            elif isinstance(candidate, Jaxpr):
                yield candidate


def _operations(equation: JaxprEqn) -> int:
    """The operations of an equation that has no program inside."""
    kind, params = equation.primitive.name, equation.params
    outputs = max((_size(var) for var in equation.outvars), default=0)
    if kind in _FREE:
        return 0
    if kind == "dot_general":
        (contracted, _), _ = params["dimension_numbers"]
        shape = _shape(equation.invars[0])
        return 2 * outputs * math.prod(shape[axis] for axis in contracted)
    if kind == "conv_general_dilated":
        _, channels, *window = params["dimension_numbers"].rhs_spec
        shape = _shape(equation.invars[1])
        return 2 * outputs * shape[channels] * math.prod(shape[axis] for axis in window)
    if kind.startswith("reduce_window"):
        return outputs * math.prod(params["window_dimensions"])
    if kind.startswith("select_and_"):  # the gradient of a pooling: every window is searched again
        return _size(equation.invars[0]) * math.prod(params["window_dimensions"])
    if kind in _OVER_INPUT:
        return _size(equation.invars[0])
    if kind.startswith("scatter"):  # a plain scatter, which only moves, is free
        return _size(equation.invars[2])
    return outputs


def _shape(var: Any) -> tuple[int, ...]:
    return getattr(var.aval, "shape", ())


def _size(var: Any) -> int:
    return math.prod(_shape(var))
