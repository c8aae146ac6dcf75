"""Whether a backward pass keeps to the convention that its author documents for its kinks.

At a kink any value between the left and the right derivative is a subgradient. Which one a layer
gives is its author's choice; that it gives the one it promises is a fact, and is checked here.
"""

from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

import jax
import numpy as np

from fnn.check.methods.one_sided import one_sided
from fnn.check.points import Point, scale_of
from fnn.check.precision import exact, is_real
from fnn.check.reports.report import Row
from fnn.check.subject import Vector, as_vector, from_vector, point
from fnn.check.trial import Trial, run_backward, run_forward

Convention = float | Literal["first", "last", "split"]

OUTPUTS = 4  # with ties, at each point
LARGEST = 512  # elements of x among which ties are looked for, one at a time
KINK = 1e-6  # left and right derivative differ by more than this part of them
EXACT = 1e-9


class _Case(NamedTuple):
    """A kink, what the convention wants there, and what the backward pass gives."""

    point: str
    element: tuple[int, ...]
    expected: float
    hand: float

    @property
    def error(self) -> float:
        return abs(self.hand - self.expected)


class _Function(NamedTuple):
    """A subject at one point, as functions of vectors."""

    name: str  # of the point
    shape: tuple[int, ...]  # of x
    x: Vector
    unit: float
    output: Callable[[Vector], Vector]
    backward: Callable[[Vector], Vector]

    def element(self, place: np.integer) -> tuple[int, ...]:
        """Where an element of the vector lies in x."""
        return tuple(int(k) for k in np.unravel_index(place, self.shape))


def documented_rows(
    trial: Trial, documented: Convention, points: Sequence[Point]
) -> tuple[Row, ...]:
    """One row for x: its worst kink among the points; ``undecided`` where none was met.

    Args:
      trial: of a subject with one real leaf in x and one in y.
      documented: a number is the derivative at every kink of an elementwise function; "first", "last"
        and "split" say which of several equal maxima takes the cotangent, in the order of x's
        elements, and that they share it equally.
      points: where kinks are looked for.

    Raises:
      ValueError: the convention is none of these, or x or y is not of the form that it speaks of.
    """
    subject = trial.subject
    if isinstance(documented, str) and documented not in ("first", "last", "split"):
        raise ValueError(
            "expected a number, 'first', 'last' or 'split' for a convention, got "
            + repr(documented)
        )
    x_leaves, y_leaves = jax.tree.leaves(subject.x), jax.tree.leaves(trial.y)
    if len(x_leaves) != 1 or not is_real(x_leaves[0]) or len(y_leaves) != 1:
        raise ValueError(
            f"{subject.name}: a convention is one of x alone: expected one array of floats for x and "
            f"one for y, got {len(x_leaves)} and {len(y_leaves)} leaves"
        )
    if not isinstance(documented, str) and np.shape(x_leaves[0]) != np.shape(y_leaves[0]):
        raise ValueError(
            f"{subject.name}: the number {documented} is a convention of an elementwise function, but "
            f"x has shape {np.shape(x_leaves[0])} and y {np.shape(y_leaves[0])}; for equal maxima "
            "give 'first', 'last' or 'split'"
        )
    cases = [case for candidate in points for case in _cases(trial, candidate, documented)]
    return (_row(documented, cases),)


def _cases(trial: Trial, candidate: Point, documented: Convention) -> list[_Case]:
    subject = candidate.subject
    with exact():
        y, cache = run_forward(subject.forward, *point(subject))
    if not np.isfinite(as_vector(y)).all():
        return []

    def output(x: Vector) -> Vector:
        moved = subject._replace(x=from_vector(np.ravel(x), subject.x))
        return as_vector(run_forward(subject.forward, *point(moved))[0])

    def backward(dy: Vector) -> Vector:
        with exact():
            cotangent = from_vector(dy, trial.y)
            return as_vector(run_backward(subject.backward, subject.params, cache, cotangent)[1])

    shape = np.shape(jax.tree.leaves(subject.x)[0])
    unit = scale_of(as_vector(trial.subject.x))
    function = _Function(candidate.name, shape, as_vector(subject.x), unit, output, backward)
    if isinstance(documented, str):
        return _ties(function, documented, trial.seed)
    _require_elementwise(trial, function, documented)
    return _elementwise(function, as_vector(trial.probes[0].dy), float(documented))


def _require_elementwise(trial: Trial, function: _Function, documented: float) -> None:
    """Raise `ValueError` if one element of x, drawn, moves another output than its own."""
    rng = np.random.default_rng((trial.seed, 2))
    size = function.x.size
    if size == 0:
        return
    i = int(rng.integers(size))
    moved = function.x.copy()
    moved[i] += function.unit
    with exact():
        others = np.flatnonzero(function.output(moved) != function.output(function.x))
    if np.any(others != i):
        raise ValueError(
            f"{trial.subject.name}: the number {documented} is a convention of an elementwise "
            f"function, but element {i} of x moves outputs {others[:5].tolist()}; for equal maxima "
            "give 'first', 'last' or 'split'"
        )


def _elementwise(function: _Function, dy: Vector, documented: float) -> list[_Case]:
    """All kinks at once: every element of x is moved, and each output sees its own."""
    left, right, error = one_sided(
        function.output, function.x, np.ones_like(function.x), scale=function.unit
    )
    hand = function.backward(dy)
    return [
        _Case(function.name, function.element(i), documented, hand[i] / dy[i])
        for i in np.flatnonzero(_kinked(left, right, error) & (dy != 0))
    ]


def _ties(function: _Function, documented: str, seed: int) -> list[_Case]:
    """For some outputs that several elements of x have a kink in: who takes the cotangent."""
    size = function.x.size
    if size > LARGEST:
        return []
    kinked, slope = [], []
    for direction in np.eye(size):
        left, right, error = one_sided(function.output, function.x, direction, scale=function.unit)
        kinked.append(_kinked(left, right, error))
        slope.append(right)
    tied = np.array(kinked)  # of element, output
    outputs = np.flatnonzero(tied.sum(0) > 1)
    chosen = np.random.default_rng((seed, 3)).permutation(outputs)[:OUTPUTS]
    cases = []
    for output in chosen:
        hand = function.backward(np.eye(tied.shape[1])[output])
        elements = np.flatnonzero(tied[:, output])
        for place, element in enumerate(elements):
            share = {
                "first": float(place == 0),
                "last": float(place == len(elements) - 1),
                "split": 1 / len(elements),
            }[documented]
            expected = share * float(slope[element][output])
            cases.append(
                _Case(function.name, function.element(element), expected, float(hand[element]))
            )
    return cases


def _kinked(left: Vector, right: Vector, error: Vector) -> Vector:
    size = np.maximum(np.abs(left), np.abs(right))
    with np.errstate(invalid="ignore"):
        return np.isfinite(error) & (np.abs(left - right) > 6 * error + KINK * size)


def _row(documented: Convention, cases: Sequence[_Case]) -> Row:
    worst = max(cases, key=lambda case: np.nan_to_num(case.error, nan=np.inf), default=None)
    if worst is None:
        said = f"convention {documented!r}: no point that was tried is a kink"
        return Row("kinks", "x", 0.0, 0.0, None, 0.0, 0.0, EXACT, "undecided", said)
    holds = worst.error <= EXACT * max(1.0, abs(worst.expected))
    per = "each basis cotangent" if isinstance(documented, str) else "dx / dy"
    return Row(
        method="kinks",
        path="x",
        relative=worst.error / max(1.0, abs(worst.expected)),
        absolute=worst.error,
        element=worst.element,
        hand=worst.hand,
        reference=worst.expected,
        tolerance=EXACT,
        verdict="kink" if holds else "wrong",
        predicate=f"at {worst.point}: not differentiable here; {per} is by the documented convention "
        f"{documented!r} {worst.expected:.6g}, and is {worst.hand:.6g} ({len(cases)} kinks met)",
    )
