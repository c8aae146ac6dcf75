"""The complex step: a difference quotient without a difference, and so without rounding.

    Im f(θ + i h t) / h  =  J t + O(h²),        h = 1e-200

For a real analytic f of real arguments. Nothing is subtracted, so h can be as small as it likes and the
quotient is as exact as f itself; and no rule of autodiff is used, so that a wrong one is found too.
Source: Squire, Trapp (1998); Martins, Sturdza, Alonso (2003).

Many functions are not analytic as programs: an absolute value, a conjugate, a conversion to real
numbers throw Im away. This method accuses no gradient before the central difference of the real function
has confirmed the quotient.
"""

import warnings
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import JaxprEqn

from fnn.check.compare import Array, norm
from fnn.check.jaxprs import (
    Program,
    Values,
    enclosing,
    equations,
    evaluate,
    replace,
    source,
    trace,
)
from fnn.check.methods.rows import product_rows
from fnn.check.precision import dtype_of, exact, is_real
from fnn.check.probes import direction
from fnn.check.remembered import by_shapes
from fnn.check.reports.report import Row
from fnn.check.reports.verdicts import first_line, undecided_row
from fnn.check.subject import (
    Vector,
    as_vector,
    point,
    real_leaves,
    split,
    with_real_leaves,
)
from fnn.check.trial import Trial, run_forward
from fnn.layer import ForwardFunction, Key, PyTree

H = 1e-200
EPSILON = float(np.finfo(np.float64).eps)
CONFIRMED = 1e-5  # how close the central difference has to come, output by output
_METHOD = "complex step"
REFUSES = "the forward pass refuses complex numbers: "
# fmt: off
_NOT_ANALYTIC = {  # or they drop a part
    "abs", "argmax", "argmin", "ceil", "clamp", "conj", "convert_element_type", "cummax", "cummin",
    "floor", "imag", "max", "min", "real", "reduce_max", "reduce_min", "round", "sign", "sort",
}
# fmt: on


def complex_step(trial: Trial, *, tolerance: float = 1e-10) -> tuple[Row, ...]:
    """One seeded tangent t for each leaf, against every probe: one row a leaf, its worst probe.

        |⟨t, hand⟩ − ⟨Im f(θ + i h t) / h, dy⟩| <= tolerance · scale        scale as in `compare`

    ``undecided``, with the reason, where the forward pass refuses complex numbers or is not analytic.
    """
    subject = trial.subject
    leaves = real_leaves(subject)
    tangents = [direction(leaf.shape, trial.seed, i, 1) for i, (_, leaf) in enumerate(leaves)]
    try:
        with exact(), warnings.catch_warnings():
            # Im is dropped from a state, and foreign code was not written for complex numbers.
            warnings.simplefilter("ignore")
            traced = _traced(subject.forward, *point(subject))
            if isinstance(traced, str):
                return tuple(undecided_row(_METHOD, path, traced, tolerance) for path, _ in leaves)
            images = [_image(trial, traced, i, tangent) for i, tangent in enumerate(tangents)]
    except (
        Exception
    ) as error:  # whatever foreign code raises for a dtype that it was not written for
        return tuple(
            undecided_row(_METHOD, path, REFUSES + first_line(error), tolerance)
            for path, _ in leaves
        )
    rows = []
    for i, row in product_rows(_METHOD, trial, tangents, images, tolerance):
        if not row.ok and not _confirmed(trial, i, tangents[i], images[i]):
            why = (
                f"central differences do not confirm the complex step: {_suspects(traced.program)}"
            )
            row = row._replace(verdict="undecided", predicate=why)
        rows.append(row)
    return tuple(rows)


class _Traced(NamedTuple):
    """The forward pass for complex numbers."""

    program: Program
    run: Callable[..., PyTree]  # compiled: (complex leaves, params, state, x, key) -> y
    complex_state: bool


@by_shapes(1)
def _traced(
    forward: ForwardFunction, params: PyTree, state: PyTree, x: PyTree, key: Key
) -> _Traced | str:
    """The pass traced, with its state complex too, where it may be; or why it says nothing.

    jax takes a convolution of complex numbers from three real ones, whose differences round h away; it
    is replaced by four.
    """

    def output(real: list[Any], params: PyTree, state: PyTree, x: PyTree, key: Key) -> PyTree:
        _, merge = split(params, x)
        params, x = merge(real)
        return forward(params, state, x, key)[0]

    real = [_as_complex(leaf) for leaf in split(params, x)[0]]
    try:
        program = trace(output, real, params, _complex_state(state), x, key)
        complex_state = True
    except Exception:  # a target is data, of which a real dtype may be asked
        try:
            program = trace(output, real, params, state, x, key)
        except Exception as error:  # remembered as well: it is raised for every point
            return REFUSES + first_line(error)
        complex_state = False
    if not all(jnp.issubdtype(leaf.dtype, jnp.complexfloating) for leaf in program.jaxpr.out_avals):
        return f"the forward pass gives real numbers for complex ones: {_suspects(program)}"
    for location, equation in equations(program):
        if equation.primitive.name == "conv_general_dilated":
            program = replace(program, location, _convolve)
    return _Traced(program, jax.jit(partial(evaluate, program)), complex_state)


def _complex_state(state: PyTree) -> PyTree:
    return jax.tree.map(lambda leaf: _as_complex(leaf) if is_real(leaf) else leaf, state)


def _convolve(equation: JaxprEqn, inputs: Values) -> Values:
    (a, b), (c, d) = ((value.real, value.imag) for value in inputs)
    parameters = {**equation.params, "preferred_element_type": None}

    def of_real(x: jax.Array, w: jax.Array) -> jax.Array:
        return equation.primitive.bind(x, w, **parameters)

    real, imaginary = of_real(a, c) - of_real(b, d), of_real(a, d) + of_real(b, c)
    return [jax.lax.complex(real, imaginary)]


def _image(trial: Trial, traced: _Traced, i: int, tangent: Vector) -> Vector:
    """Im f(θ + i h t) / h, with t on leaf i."""
    subject = trial.subject
    real = [_as_complex(leaf) for _, leaf in real_leaves(subject)]
    real[i] = real[i] + 1j * H * tangent
    state = _complex_state(subject.state) if traced.complex_state else subject.state
    outputs = traced.run(real, subject.params, state, subject.x, subject.key)
    found = [np.ravel(np.asarray(leaf)).imag / H for leaf in jax.tree.leaves(outputs)]
    return np.concatenate(found) if found else np.zeros(0)


def _as_complex(leaf: Any) -> Array:
    return np.asarray(leaf).astype(np.complex128)


def _confirmed(trial: Trial, i: int, tangent: Vector, image: Vector) -> bool:
    """Whether central differences of the real function give every element of J t as well."""
    leaves = [np.asarray(leaf) for _, leaf in real_leaves(trial.subject)]
    finite = leaves[i][np.isfinite(leaves[i])]
    step = EPSILON ** (1 / 3) * (norm(finite) / np.sqrt(max(finite.size, 1)) or 1.0)

    def output(displacement: Array) -> Vector:
        moved = [*leaves[:i], leaves[i] + displacement, *leaves[i + 1 :]]
        with exact():
            y, _ = run_forward(
                trial.subject.forward, *point(with_real_leaves(trial.subject, moved))
            )
        return as_vector(y)

    with np.errstate(invalid="ignore", over="ignore"):
        quotient = (output(step * tangent) - output(-step * tangent)) / (2 * step)
        rounding = 64 * EPSILON * np.abs(as_vector(trial.y)) / step
        return bool((np.abs(image - quotient) <= CONFIRMED * np.abs(quotient) + rounding).all())


def _suspects(program: Program) -> str:
    """What is not analytic in the forward pass, each with its line."""
    found = {
        f"{equation.primitive.name} at {source(*enclosing(program, location))}"
        for location, equation in equations(program)
        if equation.primitive.name in _NOT_ANALYTIC
        and any(jnp.issubdtype(dtype_of(v.aval), jnp.complexfloating) for v in equation.invars)
    }
    return ", ".join(sorted(found)) or "no primitive of it is known not to be analytic"
