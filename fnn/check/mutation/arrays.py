"""Faults of whole arrays: a sum over axes, a product of matrices, a convolution, what moves numbers."""

from collections.abc import Iterator
from itertools import combinations
from typing import Any

import numpy as np
from jax.extend.core import JaxprEqn

from fnn.check.jaxprs import apply
from fnn.check.mutation.rules import (
    Change,
    Family,
    Operator,
    afterwards,
    instead,
    on_operand,
    shape_of,
    with_parameters,
)

# Sums over axes.


def _reduction(equation: JaxprEqn) -> Iterator[Operator]:
    axes, shape = tuple(equation.params["axes"]), shape_of(equation.invars[0])
    for axis in axes:
        if shape[axis] > 1:
            yield on_operand(f"last of axis {axis} dropped", 0, _without_last(axis))
            yield on_operand(f"first of axis {axis} alone", 0, _first_alone(axis))
    count = int(np.prod([shape[axis] for axis in axes]))
    if count > 1:
        yield afterwards(equation, "mean for sum", lambda xp, out: out / count)
        yield afterwards(equation, "n / (n - 1)", lambda xp, out: out * (count / (count - 1)))
    for axis in axes:
        for other in range(len(shape)):
            if other not in axes and shape[other] == shape[axis]:
                yield on_operand(f"axis {other} for axis {axis}", 0, _swapped(axis, other))


def _extremum(equation: JaxprEqn) -> Iterator[Operator]:
    axes = tuple(equation.params["axes"])
    other = "min" if equation.primitive.name == "reduce_max" else "max"
    yield instead(f"{other} in its place", lambda xp, a: getattr(xp, other)(a, axis=axes))
    yield instead("sum in its place", lambda xp, a: xp.sum(a, axis=axes))


def _without_last(axis: int) -> Change:
    return lambda xp, a: a * _mask(a.shape, axis, slice(0, -1)).astype(a.dtype)


def _first_alone(axis: int) -> Change:
    return lambda xp, a: a * _mask(a.shape, axis, slice(0, 1)).astype(a.dtype)


def _mask(shape: tuple[int, ...], axis: int, kept: slice) -> Any:
    mask = np.zeros(shape[axis])
    mask[kept] = 1
    return mask.reshape([-1 if i == axis else 1 for i in range(len(shape))])


def _swapped(a: int, b: int) -> Change:
    return lambda xp, value: xp.swapaxes(value, a, b)


# Products of matrices, convolutions.


def _matrix_product(equation: JaxprEqn) -> Iterator[Operator]:
    (left, right), _ = equation.params["dimension_numbers"]
    for position, contracted in ((0, left), (1, right)):
        yield from _transposed_operand(equation, position)
        shape = shape_of(equation.invars[position])
        for axis in contracted if position == 0 else ():
            if shape[axis] > 1:
                yield on_operand(f"last of contracted axis {axis} dropped", 0, _without_last(axis))
    count = int(np.prod([shape_of(equation.invars[0])[axis] for axis in left]))
    if count > 1:
        yield afterwards(equation, "mean for sum", lambda xp, out: out / count)
        yield afterwards(equation, "n / (n - 1)", lambda xp, out: out * (count / (count - 1)))


def _transposed_operand(equation: JaxprEqn, position: int) -> Iterator[Operator]:
    shape = shape_of(equation.invars[position])
    for a, b in combinations(range(len(shape)), 2):
        if shape[a] == shape[b] > 1:
            yield on_operand(
                f"operand {position} transposed, axes {a} {b}", position, _swapped(a, b)
            )


def _convolution(equation: JaxprEqn) -> Iterator[Operator]:
    numbers, padding = equation.params["dimension_numbers"], equation.params["padding"]
    shape = shape_of(equation.invars[1])
    for axis in numbers.rhs_spec[2:]:
        if shape[axis] > 1:
            yield on_operand(f"kernel turned, axis {axis}", 1, _reversed(axis))
    yield from _transposed_operand(equation, 1)
    for i, (low, high) in enumerate(padding):
        shifted = (*padding[:i], (low + 1, high - 1), *padding[i + 1 :])
        yield with_parameters(f"shifted by a pixel, axis {i}", equation, padding=shifted)


def _window(equation: JaxprEqn) -> Iterator[Operator]:
    padding = tuple(equation.params["padding"])
    for i, (low, high) in enumerate(padding):
        if high > 0:
            shifted = (*padding[:i], (low + 1, high - 1), *padding[i + 1 :])
            yield with_parameters(f"shifted by one, axis {i}", equation, padding=shifted)


def _reversed(axis: int) -> Change:
    return lambda xp, a: xp.flip(a, axis)


# What moves numbers and changes none.


def _transposition(equation: JaxprEqn) -> Iterator[Operator]:
    if shape_of(equation.invars[0]) == shape_of(equation.outvars[0]):
        yield instead("not transposed", lambda xp, a: a)
    yield from _transposed_operand(equation, 0)


def _reshape(equation: JaxprEqn) -> Iterator[Operator]:
    shape = shape_of(equation.outvars[0])
    if sum(size > 1 for size in shape_of(equation.invars[0])) > 1:
        yield instead("read column by column", lambda xp, a: xp.reshape(xp.transpose(a), shape))
    yield from _turned(equation)


def _turned(equation: JaxprEqn) -> Iterator[Operator]:
    for axis, size in enumerate(shape_of(equation.outvars[0])):
        if size > 1:
            name = f"turned round, axis {axis}"
            yield afterwards(equation, name, lambda xp, out, i=axis: xp.flip(out, i))
            if size > 2:
                name = f"rolled by one, axis {axis}"
                yield afterwards(equation, name, lambda xp, out, i=axis: xp.roll(out, 1, i))


def _broadcast(equation: JaxprEqn) -> Iterator[Operator]:
    given = tuple(equation.params["broadcast_dimensions"])
    shape, source = equation.params["shape"], shape_of(equation.invars[0])
    for i, axis in enumerate(given):
        low = given[i - 1] + 1 if i else 0
        high = given[i + 1] if i + 1 < len(given) else len(shape)
        for other in range(low, high):
            if other != axis and source[i] == shape[other] > 1:
                moved = (*given[:i], other, *given[i + 1 :])
                name = f"along axis {other} for axis {axis}"
                yield with_parameters(name, equation, broadcast_dimensions=moved)


def _padding(equation: JaxprEqn) -> Iterator[Operator]:
    config = tuple(equation.params["padding_config"])
    for i, (low, high, interior) in enumerate(config):
        if low or high:
            step = 1 if high else -1
            shifted = (*config[:i], (low + step, high - step, interior), *config[i + 1 :])
            yield with_parameters(f"shifted by one, axis {i}", equation, padding_config=shifted)


def _slice(equation: JaxprEqn) -> Iterator[Operator]:
    starts, ends = equation.params["start_indices"], equation.params["limit_indices"]
    for i, size in enumerate(shape_of(equation.invars[0])):
        for step in (1, -1):
            if starts[i] + step >= 0 and ends[i] + step <= size:
                yield with_parameters(
                    f"shifted by {step:+d}, axis {i}",
                    equation,
                    start_indices=(*starts[:i], starts[i] + step, *starts[i + 1 :]),
                    limit_indices=(*ends[:i], ends[i] + step, *ends[i + 1 :]),
                )


def _dynamic_slice(equation: JaxprEqn) -> Iterator[Operator]:
    first = 1 if equation.primitive.name == "dynamic_slice" else 2
    for i in range(first, len(equation.invars)):
        yield on_operand(f"shifted by one, axis {i - first}", i, lambda xp, a: a + 1)


def _indexed(equation: JaxprEqn) -> Iterator[Operator]:
    yield on_operand("indices shifted by one", 1, lambda xp, a: a + 1)


def _concatenation(equation: JaxprEqn) -> Iterator[Operator]:
    if len({shape_of(atom) for atom in equation.invars}) == 1 and len(equation.invars) > 1:
        yield Operator("parts in reverse", lambda e, inputs: apply(e, list(reversed(inputs))))


def _cumulation(equation: JaxprEqn) -> Iterator[Operator]:
    yield with_parameters("from the other end", equation, reverse=not equation.params["reverse"])


FAMILIES: dict[str, Family] = {
    "reduce_sum": _reduction,
    "reduce_max": _extremum,
    "reduce_min": _extremum,
    "dot_general": _matrix_product,
    "conv_general_dilated": _convolution,
    "reduce_window_sum": _window,
    "reduce_window_max": _window,
    "select_and_scatter_add": _window,
    "transpose": _transposition,
    "reshape": _reshape,
    "broadcast_in_dim": _broadcast,
    "pad": _padding,
    "slice": _slice,
    "dynamic_slice": _dynamic_slice,
    "dynamic_update_slice": _dynamic_slice,
    "gather": _indexed,
    "scatter": _indexed,
    "scatter-add": _indexed,
    "concatenate": _concatenation,
    "cumsum": _cumulation,
    "cumlogsumexp": _cumulation,
    "cummax": _cumulation,
    "cumprod": _cumulation,
}
