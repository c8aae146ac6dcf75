"""Whether a mutant is a fault at all: its results beside the original's, at many inputs.

A change that alters no result is no fault, and no checker can find it: a 0 that is not added, an index
that is clamped anyway, a branch for another machine. That it alters none is not proved here but tried:
at the trial's own probes, at structured inputs (ties, zeros, ones) and at inputs, parameters, keys and
cotangents of several sizes that are drawn anew. Inputs count at which the forward pass and the
original's gradient are finite.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import Jaxpr, Literal

from fnn.check.branches.cover import cover
from fnn.check.compare import floor_of, norm, ratio
from fnn.check.jaxprs import Location, Program, bodies, enclosing, evaluate
from fnn.check.methods.one_sided import one_sided
from fnn.check.mutation.mutants import Mutant
from fnn.check.points import Point, structured_points
from fnn.check.precision import exact, is_real
from fnn.check.probes import direction, draw
from fnn.check.subject import (
    Gradient,
    Subject,
    Vector,
    as_vector,
    hand_leaves,
    point,
    real_leaves,
    with_real_leaves,
)
from fnn.check.trial import Trial, run_forward
from fnn.layer import BackwardFunction, PyTree

SIZES = (1.0, 1.0, 0.1, 10.0, 1000.0)  # of the inputs that are drawn
COTANGENTS = (1.0, 1000.0, 1.0, -100.0, 1.0)  # factors of the cotangents that go with them
ROUNDING = 1e-13
OTHER_ROUNDING = 1e-3  # below it, a loop that is compiled as one may be what rounds otherwise
NOISE = 1e-6  # of the floor: a leaf's gradient below it is zero but for its rounding
KINK = 1e-3  # of a derivative: the least by which the one from the other side is another one


class Input(NamedTuple):
    """One call of the backward pass, and what the original gives for it."""

    name: str
    subject: Subject
    cache: PyTree
    dy: PyTree
    gradient: list[Vector | None]
    is_drawn: bool  # not one at which the checker looks
    floor: float  # the size below which a gradient is rounding: see `compare`
    noise: list[float]  # of each leaf whose gradient is nothing but rounding: how large; else 0


class Difference(NamedTuple):
    """The largest that was found between a mutant and the original, and where."""

    relative: float  # on the scale of `compare`; infinite for a NaN or another structure
    input: str
    leaf: str
    inputs: tuple[str, ...]  # all at which it is larger than is tolerated


def inputs_of(trial: Trial, program: Program) -> list[Input]:
    """The trial's probes, then structured and random inputs at which the gradient is finite."""
    here = trial.subject
    found = [
        _input(f"{probe.name} dy", here, trial.cache, probe.dy, program) for probe in trial.probes
    ]
    candidates = [(place, 1.0, False) for place in chosen_points(trial)]
    for i, (size, factor) in enumerate(zip(SIZES, COTANGENTS, strict=True)):
        subject = _drawn(here, size, trial.seed + 1 + i)
        candidates.append((Point(f"drawn anew, of size {size:g}", subject), factor, True))
    for i, (place, factor, is_drawn) in enumerate(candidates):
        with exact():
            y, cache = run_forward(place.subject.forward, *point(place.subject))
        if np.isfinite(as_vector(y)).all():
            normal = draw(y, trial.seed + 1000 + i)[0].dy
            dy = jax.tree.map(lambda leaf, by=factor: by * leaf, normal)
            found.append(_input(place.name, place.subject, cache, dy, program, is_drawn))
    return [
        given
        for given in found
        if all(leaf is None or np.isfinite(leaf).all() for leaf in given.gradient)
    ]


def chosen_points(trial: Trial) -> tuple[Point, ...]:
    """Where the checker looks besides the given point: structured, and found for a branch."""
    return (*structured_points(trial), *cover(trial).points)


def has_kinks(trial: Trial) -> bool:
    """Whether the given point is one: a derivative from the left that is not the one from the right.

    Along one random direction for each leaf, which meets every element: a kink anywhere shows.
    """
    subject = trial.subject
    leaves = [np.asarray(leaf) for _, leaf in real_leaves(subject)]
    for i, leaf in enumerate(leaves):

        def output(moved: Vector, i: int = i) -> Vector:
            inside = [jnp.asarray(moved) if k == i else leaf for k, leaf in enumerate(leaves)]
            there = with_real_leaves(subject, inside)
            return as_vector(run_forward(subject.forward, *point(there))[0])

        left, right, error = one_sided(output, leaf, direction(leaf.shape, trial.seed, i))
        size = np.maximum(np.abs(left), np.abs(right))
        with np.errstate(invalid="ignore"):
            if not (np.abs(left - right) <= 3 * error + KINK * size).all():
                return True
    return False


def reached(program: Program, inputs: list[Input]) -> set[Location]:
    """The equations that ran for at least one input."""
    seen: set[Location] = set()
    with exact():
        for given in inputs:
            evaluate(
                program,
                given.subject.params,
                given.cache,
                given.dy,
                visit=lambda location, *_: seen.add(location),
            )
    return seen


def is_other_platform(program: Program, location: Location) -> bool:
    """Whether an equation lies in a branch that is chosen by the platform, not by the data."""
    for end in range(len(location) - 2, 0, -2):
        outer = enclosing(program, location[:end])
        if outer[0].primitive.name == "cond":
            above = (
                bodies(outer[1])[location[end - 2]].jaxpr if len(outer) > 1 else program.jaxpr.jaxpr
            )
            if "platform_index" in _origins(above, outer[0].invars[0]):
                return True
    return False


def difference(mutant: Mutant, inputs: list[Input], tolerance: float) -> Difference:
    """The largest difference in any leaf at any input."""
    worst, differing = Difference(0.0, "", "", ()), []
    for given in inputs:
        for path, relative in _differences(mutant, given):
            if relative > worst.relative:
                worst = Difference(relative, given.name, path, ())
            if relative > tolerance:
                differing.append(given.name)
    return worst._replace(inputs=tuple(dict.fromkeys(differing)))


def run(backward: BackwardFunction, subject: Subject, cache: PyTree, dy: PyTree) -> Gradient:
    """A gradient, one equation after another."""
    with exact():
        return Gradient(*backward(subject.params, cache, dy))


def _differences(mutant: Mutant, given: Input) -> list[tuple[str, float]]:
    """The relative difference in each leaf; a small one, if it remains, from the original run alike."""
    found = _compared(mutant, given, given.gradient)
    if any(ROUNDING < relative < OTHER_ROUNDING for _, relative in found):
        control = run(mutant.control, given.subject, given.cache, given.dy)
        alike = _compared(mutant, given, hand_leaves(given.subject, control))
        found = [min(pair, key=_relative) for pair in zip(found, alike, strict=True)]
    return found


def _relative(of_leaf: tuple[str, float]) -> float:
    return of_leaf[1]


def _compared(
    mutant: Mutant, given: Input, original: list[Vector | None]
) -> list[tuple[str, float]]:
    found = hand_leaves(given.subject, run(mutant.backward, given.subject, given.cache, given.dy))
    relatives = []
    for (path, _), changed, right, noise in zip(
        real_leaves(given.subject), found, original, given.noise, strict=True
    ):
        if changed is None or right is None:
            relatives.append((path, 0.0 if changed is right else np.inf))
            continue
        with np.errstate(invalid="ignore", over="ignore"):
            distance = norm(changed - right)
            relative = ratio(distance, max(norm(right), given.floor))
        if distance <= 3 * noise:  # another rounding of a gradient that is nothing else
            relative = min(relative, ROUNDING)
        relatives.append((path, np.inf if np.isnan(relative) else relative))
    return relatives


def _input(
    name: str,
    subject: Subject,
    cache: PyTree,
    dy: PyTree,
    program: Program,
    is_drawn: bool = False,
) -> Input:
    with exact():
        gradient = Gradient(*evaluate(program, subject.params, cache, dy))
    leaves = hand_leaves(subject, gradient)
    size = norm(as_vector(dy))
    gain = max((ratio(norm(leaf), size) for leaf in leaves if leaf is not None), default=0.0)
    floor = floor_of(as_vector(dy), gain)
    sizes = [0.0 if leaf is None else norm(leaf) for leaf in leaves]
    noise = [size if size <= NOISE * floor else 0.0 for size in sizes]
    return Input(name, subject, cache, dy, leaves, is_drawn, floor, noise)


def _drawn(subject: Subject, size: float, seed: int) -> Subject:
    """Other real leaves of a size, the integers in another order, and another key."""
    rng = np.random.default_rng(seed)

    def moved(leaf: jax.Array) -> jax.Array:
        if is_real(leaf):
            return jnp.asarray(size * rng.standard_normal(leaf.shape))
        if jnp.issubdtype(leaf.dtype, jnp.integer):
            return jnp.asarray(rng.permutation(np.ravel(leaf)).reshape(leaf.shape))
        return leaf

    with exact():
        params, x = jax.tree.map(moved, (subject.params, subject.x))
        # Running statistics and targets keep their values: a variance below 0 means nothing.
        state = jax.tree.map(lambda leaf: leaf if is_real(leaf) else moved(leaf), subject.state)
        key = None if subject.key is None else jax.random.fold_in(subject.key, seed)
    return subject._replace(params=params, state=state, x=x, key=key)


def _origins(jaxpr: Jaxpr, variable: Any) -> set[str]:
    """The names of all primitives that an integer index is computed with."""
    by_output = {out: equation for equation in jaxpr.eqns for out in equation.outvars}
    found, waiting = set(), [variable]
    while waiting:
        atom = waiting.pop()
        if not isinstance(atom, Literal) and atom in by_output:  # a literal cannot be hashed
            found.add(by_output[atom].primitive.name)
            waiting += by_output[atom].invars
    return found
