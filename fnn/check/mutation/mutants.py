"""All mutants of one backward pass: one fault in one equation each, and the catalogue's.

A mutant's backward is a function like any layer's: it runs outside of `jit` and inside, under `vmap`, and
when differentiated.
"""

from collections.abc import Iterator
from typing import NamedTuple

import jax

from fnn.check.jaxprs import (
    Location,
    Program,
    apply,
    enclosing,
    equations,
    evaluate,
    replace,
    source,
    trace,
)
from fnn.check.mutation.catalogue import CATALOGUE, Fault
from fnn.check.mutation.operators import operators
from fnn.check.precision import exact
from fnn.check.trial import Trial
from fnn.layer import BackwardFunction, PyTree


class Mutant(NamedTuple):
    """A backward pass with one fault."""

    fault: str  # mul: first factor dropped
    equation: str  # its number on the way down, such as 3 or 3.0.7; or "catalogue"
    source: str  # the file and the line that computes it; for the catalogue, the leaf
    location: Location  # () for the catalogue
    backward: BackwardFunction
    # The original run in the same way, loops in Python where the mutant's are: it rounds as that does.
    control: BackwardFunction

    def __str__(self) -> str:
        return f"{self.source}, equation {self.equation}: {self.fault}"


def program_of(trial: Trial) -> Program:
    """The trial's backward pass, traced in float64."""
    subject = trial.subject
    with exact():
        return trace(subject.backward, subject.params, trial.cache, trial.probes[0].dy)


def planted(trial: Trial, program: Program) -> Iterator[Mutant]:
    """One mutant for every operator of every equation.

    Nothing is planted into the condition and the body of a `while`, which might then never end.
    """
    original = trial.subject.backward
    for location, equation in equations(program):
        around = enclosing(program, location)
        if any(outer.primitive.name == "while" for outer in around):
            continue
        control = _mutated(original, replace(program, location, apply))
        for operator in operators(equation):
            yield Mutant(
                f"{equation.primitive.name}: {operator.name}",
                ".".join(map(str, location)),
                source(*around),
                location,
                _mutated(original, replace(program, location, operator.rule)),
                control,
            )


def catalogued(trial: Trial, program: Program) -> Iterator[Mutant]:
    """One mutant for every mistake of the catalogue that this subject's trees allow."""
    subject, gradient = trial.subject, trial.hand[0]
    original = _mutated(subject.backward, program)  # run outside of jit: nothing is compiled
    for mistake in CATALOGUE:
        for fault in mistake(subject.params, subject.x, gradient, trial.probes[0].dy):
            spoiled = _spoiled(original, fault)
            yield Mutant(fault.name, "catalogue", fault.leaf, (), spoiled, original)


def _mutated(original: BackwardFunction, program: Program) -> BackwardFunction:
    """The program where it fits, and the original at other shapes and dtypes than those traced."""
    traced = [(aval.shape, aval.dtype) for aval in program.jaxpr.in_avals]

    def backward(params: PyTree, cache: PyTree, dy: PyTree) -> tuple[PyTree, PyTree]:
        leaves, tree = jax.tree.flatten((params, cache, dy))
        if tree != program.in_tree or [(leaf.shape, leaf.dtype) for leaf in leaves] != traced:
            return original(params, cache, dy)
        return evaluate(program, params, cache, dy)

    return backward


def _spoiled(original: BackwardFunction, fault: Fault) -> BackwardFunction:
    def backward(params: PyTree, cache: PyTree, dy: PyTree) -> tuple[PyTree, PyTree]:
        return fault.spoil(original, params, cache, dy)

    return backward
