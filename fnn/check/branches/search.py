"""A search for inputs on either side of every decision of a gradient, and at its threshold.

A seeded list of inputs first: the given one at other scales and signs, constants, and other draws. For
a side that none of them reaches, Newton's method on its margin along a few directions, with the slope by
a difference. For a threshold, bisection between two inputs on its two sides. No autodiff: it may be
what is wrong.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from fnn.check.branches.sites import Key, Margins, Watch
from fnn.check.points import scale_of
from fnn.check.subject import Vector

SCALES = (10.0, 0.1, 100.0, 1e-3, 1e3)
LARGEST = 20_000_000  # numbers kept: inputs times their size
FEWEST = 8  # inputs tried at any size
NEWTON = 6  # steps along one direction
OVERSHOOT = 0.05  # of a Newton step, so as to land behind the threshold
SLOPE = 1e-4  # of the usual element, for the difference
BISECTIONS = (16, 60)  # at least and at most: each is a run of the forward and the backward pass


class Input(NamedTuple):
    """An input in words, and as the vector of the real leaves of (params, x)."""

    name: str
    vector: Vector


class Survey:
    """Which inputs reached which side of every site, and how near to its threshold they came."""

    def __init__(self, watch: Watch) -> None:
        self.watch = watch
        self.inputs: list[Input] = []
        self.refused: list[Input] = []  # at which the subject raises
        self.reached: dict[Key, dict[str, Input]] = {}
        self.approach: dict[tuple[Key, str], float] = {}  # the smallest |margin| on that side
        self.nearest: dict[Key, tuple[float, Input]] = {}  # the smallest |margin| on either
        # For each element of a margin, the last input that was below its threshold, and above.
        self._ends: dict[Key, tuple[Vector, Vector]] = {}

    def add(self, found: Input) -> None:
        """Evaluate one input."""
        number = len(self.inputs)
        self.inputs.append(found)
        for key, margin in self._margins(found).items():
            finite = np.isfinite(margin)
            if not finite.any():
                continue  # as the maximum with -inf that a reduction starts from: nothing to reach
            size = np.where(finite, np.abs(margin), np.inf)
            if size.min() < self.nearest.get(key, (np.inf, found))[0]:
                self.nearest[key] = float(size.min()), found
            sides = self.reached.setdefault(key, {})
            for side, holds in self.watch.sites[key].sides.items():
                if (on_side := holds(margin)).any():
                    sides.setdefault(side, found)
                    least = float(size[on_side].min())
                    self.approach[key, side] = min(least, self.approach.get((key, side), np.inf))
            none = np.full(margin.shape, -1)
            below, above = self._ends.get(key, (none, none))
            if below.shape == margin.shape:  # a loop may have another length at another input
                self._ends[key] = (
                    np.where(finite & (margin < 0), number, below),
                    np.where(finite & (margin > 0), number, above),
                )

    def _margins(self, at: Input) -> Margins:
        """Those of the watch; none where the subject raises, but for the first input, the given one."""
        try:
            return self.watch(at.vector)
        except Exception:  # whatever a function raises where nobody asked for its value
            if len(self.inputs) == 1:
                raise
            self.refused.append(at)
            return {}

    def missing(self) -> list[tuple[Key, str]]:
        """The sides that no input reached."""
        return [
            (key, side)
            for key, reached in self.reached.items()
            for side in self.watch.sites[key].sides
            if side not in reached
        ]

    @property
    def complete(self) -> bool:
        """Whether every side was reached, and every threshold lies between two of the inputs."""
        return not self.missing() and all(self._between(key).size for key in self.reached)

    def threshold(self, key: Key, seed: int) -> tuple[Input, ...]:
        """Inputs just below a site's threshold, at it if a float is, and just above, for one element.

        None where no element of its margin was met on both sides, or where a bisection loses it.
        """
        both = self._between(key)
        if not both.size:
            return ()
        element = int(np.random.default_rng((seed, 4)).choice(both))
        ends = (self.inputs[int(end[element])].vector for end in self._ends[key])
        found = self._bisected(key, element, *ends)
        site = self.watch.sites[key]
        where = f"the threshold of {site.operation} ({site.source})"
        return tuple(Input(f"x {side} {where}", vector) for side, vector in found.items())

    def margin(self, key: Key, vector: Vector) -> Vector | None:
        """A site's margin; None where it is not met, or the subject raises."""
        return self._margins(Input("x by Newton's method", vector)).get(key)

    def _between(self, key: Key) -> Vector:
        below, above = self._ends.get(key, (np.zeros(0), np.zeros(0)))
        return np.flatnonzero((below >= 0) & (above >= 0))

    def _bisected(self, key: Key, element: int, low: Vector, high: Vector) -> dict[str, Vector]:
        found: dict[str, Vector] = {"just below": low, "just above": high}
        top, fewest = high, BISECTIONS[0]
        steps = min(max(5 * LARGEST // max(low.size, 1), fewest), BISECTIONS[1])
        for side in ("just below", "just above"):
            for _ in range(steps):
                middle = low + (high - low) / 2
                if np.array_equal(middle, low) or np.array_equal(middle, high):
                    break
                margin = self._margins(Input("x by bisection", middle)).get(key)
                if margin is None or margin.size <= element or not np.isfinite(margin[element]):
                    return {}
                if margin[element] == 0:
                    found["at"] = middle
                lower = margin[element] < 0 or (side == "just above" and margin[element] == 0)
                low, high = (middle, high) if lower else (low, middle)
            found[side] = low if side == "just below" else high
            if "at" not in found:  # the first bisection ends at both neighbours
                return {"just below": low, "just above": high}
            low, high = found["at"], top
        return found


def candidates(x: Vector, fixed: int, seed: int) -> Iterator[Input]:
    """Seeded inputs, the likeliest to reach another side first.

    Args:
      x: the given one: the real leaves of params and then of x.
      fixed: how many of its elements are those of params, which move only in the last few.
      seed: of the draws.
    """
    rng = np.random.default_rng((seed, 5))
    params, given = x[:fixed], x[fixed:]
    unit = scale_of(given)

    def with_x(name: str, moved: Vector) -> Input:
        return Input(name, np.concatenate([params, moved]))

    def normal() -> Vector:
        return rng.standard_normal(given.shape)

    yield with_x("-x", -given)
    for scale in SCALES:
        yield with_x(f"{scale:g} · normal draws", scale * unit * normal())
        yield with_x(f"{scale:g} · x", scale * given)
    for value in (unit, -unit, 10 * unit, -10 * unit, 1e3 * unit, -1e3 * unit):
        yield with_x(f"x of {value:.3g}", np.full(given.shape, value))
        yield with_x(f"x + {value:.3g}", given + value)
    yield with_x("|x|", np.abs(given))
    yield with_x("-|x|", -np.abs(given))
    yield with_x("x in ascending order", np.sort(given))
    yield with_x("x in descending order", -np.sort(-given))
    yield with_x("x with one large element", np.where(np.arange(given.size) == 0, 1e3, 1) * given)
    for scale in (-1.0, 0.1, 10.0, -100.0) if fixed else ():
        yield Input(f"{scale:g} · params", np.concatenate([scale * params, given]))
    for scale in (1.0, 10.0) if fixed else ():
        drawn = scale * scale_of(params) * rng.standard_normal(params.shape)
        yield Input(f"{scale:g} · normal draws for params", np.concatenate([drawn, given]))


def explore(survey: Survey, start: Vector, fixed: int, seed: int) -> None:
    """Add candidates, then Newton steps toward the sides that they miss, until the survey is complete."""
    most = max(FEWEST, LARGEST // max(start.size, 1))
    for number, candidate in enumerate(candidates(start, fixed, seed)):
        if survey.complete or number >= most:
            break
        survey.add(candidate)
    for key, side in survey.missing():
        if side in survey.reached[key]:
            continue  # on the way to another one
        for direction in _directions(survey.nearest[key][1].vector, fixed, seed):
            if _newton(survey, key, side, direction):
                break


def _directions(x: Vector, fixed: int, seed: int) -> Iterator[Vector]:
    rng = np.random.default_rng((seed, 6))
    moves = np.arange(x.size) >= fixed
    for drawn in (np.ones(x.size), rng.standard_normal(x.size), x.copy()):
        yield np.where(moves, drawn, 0.0)
    if fixed:
        yield np.where(moves, 0.0, rng.standard_normal(x.size))


def _newton(survey: Survey, key: Key, side: str, direction: Vector) -> bool:
    """Whether a line search from the nearest input reaches the side."""
    x = survey.nearest[key][1].vector
    step = SLOPE * scale_of(x)
    for _ in range(NEWTON):
        margin, ahead = (survey.margin(key, at) for at in (x, x + step * direction))
        if margin is None or ahead is None or margin.shape != ahead.shape:
            return False
        with np.errstate(all="ignore"):
            length = -margin * step / (ahead - margin)
        length = np.where(np.isfinite(length), length, np.inf)
        length = length[np.argmin(np.abs(length))]
        if not np.isfinite(length):
            return False
        landed = x + length * direction  # where an equality holds, if the margin is linear
        beyond = x + (1 + OVERSHOOT) * length * direction
        for x in (landed, beyond):
            survey.add(Input("x by Newton's method", x))
            if side in survey.reached[key]:
                return True
    return False
