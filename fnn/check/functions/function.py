"""`function`: every method on the derivative of any JAX function, in one call.

What is on trial is `jax.vjp(f)`, by whatever rules f has: a `custom_vjp`, a `custom_jvp`, those of the
operations that it is made of. The reference is autodiff of a plain formula, if one is given, and else of
f's own primal with all custom rules left out of it. Where that cannot be differentiated either (a Pallas
kernel, a callback, a loop of unknown length), differences alone speak.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

from fnn.check.battery import METHODS, Findings, examine
from fnn.check.functions.binding import (
    Backward,
    Binding,
    Forward,
    Function,
    argument_names,
    differentiated,
    hashable,
    name_of,
)
from fnn.check.functions.given import given_findings
from fnn.check.functions.narrowing import narrowed
from fnn.check.functions.rules import forward_rule, value
from fnn.check.functions.witness import Witness, modes, witness_of
from fnn.check.precision import exact, widen
from fnn.check.reports.report import Report, Row
from fnn.check.subject import Subject
from fnn.check.trial import attempt
from fnn.layer import PyTree

# What is left to ask where autodiff cannot differentiate the reference in both modes.
_WITHOUT_AUTODIFF = ("structure", "numerical", "linearity", "eager", "deterministic")


def function(
    function: Function,
    *args: PyTree,
    reference: Function | None = None,
    argnums: int | Sequence[int] | None = None,
    dy: PyTree | None = None,
    seed: int = 0,
    tolerance: float | None = None,
    dtype: Literal["float64", "given"] = "float64",
    methods: Sequence[str] = METHODS,
) -> Report:
    """Prove the derivative of ``function(*args)``, leaf by leaf.

        report = check.function(fused_layer_norm, x, scale, bias, reference=plain_layer_norm)

    Besides the methods of `layer`: `value` (f, its forward rule and the reference give the same y) and,
    where f has a forward mode of its own, `forward rule` (it is the reference's). A path is the
    parameter's name and the way to the leaf, such as ``params/w``; y is the output. The report's name
    says what f was compared with.

    Args:
      function: any JAX function of trees of arrays. What is no array (a shape, an axis, a string) and
        what goes by keyword is bound before: ``functools.partial(f, axis=0)``.
      args: where it is checked. Integers, booleans and keys are handed over as they are.
      reference: a plain function of the same arguments. Without it, f's own primal.
      argnums: which arguments are differentiated; without it, all with a real leaf.
      dy: a cotangent to use besides the probes: of the tree of f's outputs, None for integers.
      seed: of the probes and directions.
      tolerance: of the relative error. Without it 1e-10; with `dtype="given"` ε^(2/3), ε being that
        of the lowest floating dtype inside of f.
      dtype: ``"float64"`` raises all real leaves to it; ``"given"`` leaves them as they are, which is
        for functions that compute in one dtype whatever they are given, as many kernels do.
      methods: the names of those to run with `dtype="float64"`, as far as the reference allows them;
        ``"given"`` has its own few, and `value` and `forward rule` are run always.

    Raises:
      TypeError: no argument has a real leaf; one has a complex leaf, or one that is no array; no output
        is real; f has no reverse mode; with `dtype="float64"`, f casts to a lower dtype inside.
      ValueError: the reference's outputs are of another tree or shape.
      Exception: whatever the function raises, with a note that says in which pass.
    """
    name = name_of(function)
    names = argument_names(function, args)
    own = Binding(hashable(function), names, differentiated(name, names, args, argnums))
    given = None if reference is None else replace(own, function=hashable(reference))
    others, x = own.split(args)
    label, found = (
        given_findings(name, own, given, others, x, seed=seed, dy=dy, tolerance=tolerance)
        if dtype == "given"
        else _float64(name, own, given, others, x, seed, dy, tolerance or 1e-10, methods)
    )
    rows = tuple(map(_renamed, found.rows))
    return Report(f"{name} against {label}", rows, found.branches, seed=seed)


def _float64(
    name: str,
    own: Binding,
    given: Binding | None,
    others: PyTree,
    x: PyTree,
    seed: int,
    dy: PyTree | None,
    tolerance: float,
    methods: Sequence[str],
) -> tuple[str, Findings]:
    """(what it was compared with, what was found) in float64."""
    with exact():
        wide = widen((others, x))
        try:
            against = witness_of(name, own, given, *wide)
            low = narrowed(own, *wide)
        except Exception as error:
            error.add_note(f"{name}: dtype='given' would leave the dtypes as they were given")
            raise
        if low:
            raise TypeError(
                f"{name}: expected a function that stays in float64, got one that {low}; "
                "check.function(…, dtype='given') checks it in the dtypes that it was given, "
                "as far as their precision reaches"
            )
        own_modes = modes(own, *wide)
    forward = Forward(own, against.binding)
    subject = Subject(name, forward, Backward(own), (), others, x, None)
    trial = attempt(subject, seed=seed, dy=dy)
    asked = [method for method in methods if method in _allowed(against)]
    found = examine(subject, trial, tolerance=tolerance, methods=asked)
    others, x = trial.subject.state, trial.subject.x
    with exact():
        rows = value(own, given, others, x, trial.y, tolerance=tolerance)
        if own_modes.forward and against.modes.forward and against.binding is not None:
            rows += forward_rule(own, against.binding, others, x, seed=seed, tolerance=tolerance)
    rows = (*map(_without_duty, found.rows), *rows)
    label = against.label
    if not own_modes.forward:
        label += f"; no forward mode of its own ({own_modes.why_not})"
    return label, found._replace(rows=rows)


def _allowed(against: Witness) -> tuple[str, ...]:
    """The methods that the reference allows: all where it can be differentiated in both modes."""
    if against.modes.reverse and against.modes.forward:
        return METHODS
    reverse = ("reverse mode",) if against.modes.reverse else ()
    forward = ("forward mode",) if against.modes.forward else ()
    return (*_WITHOUT_AUTODIFF, *reverse, *forward)


def _without_duty(row: Row) -> Row:
    """A transformation that jax has no rule for is no fault: a layer has to go through all, f has not."""
    if row.ok or not str(row.hand).startswith("NotImplementedError"):
        return row
    return row._replace(
        verdict="undecided", likely="", predicate=f"{row.predicate}: no rule for it"
    )


def _renamed(row: Row) -> Row:
    """The row under the name of the function's parameter: ``w`` for ``x/w``."""
    short = row.path.removeprefix("x/")
    return row._replace(
        path=short,
        predicate=row.predicate.replace(row.path, short),
        likely=row.likely.replace(row.path, short),
    )
