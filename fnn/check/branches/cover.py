"""Which side of each decision in a hand-written gradient was never reached by any point of a check.

A comparison of two gradients says nothing about the code that did not run. Here the program of the
forward and the backward pass is evaluated equation by equation at every point that was checked; a side
that none reached is a `Branch`, with an input that reaches it where `search` finds one. Such
inputs, and those around every threshold, are the points that a further comparison should be made at.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from fnn.check.branches.search import Input, Survey, explore
from fnn.check.branches.sites import Key, Watch
from fnn.check.points import Point, structured_points
from fnn.check.reports.report import Branch
from fnn.check.subject import Subject, Vector, as_vector, from_vector, real_leaves, with_real_leaves
from fnn.check.trial import Trial

MOST_POINTS = 12
MOST_EQUATIONS = 3000  # that are evaluated at every point


class Approach(NamedTuple):
    """How near the points that were checked came to one decision's threshold, side by side.

    A threshold that is wrong by less than this cannot have been noticed at them.
    """

    source: str
    operation: str
    margins: dict[str, float]  # by side; infinite where it was not reached


class Coverage(NamedTuple):
    """What the points of a check left out, and where to look besides."""

    branches: tuple[Branch, ...]
    approaches: tuple[Approach, ...]
    points: tuple[Point, ...]  # on the sides that were not reached, and at every threshold


def cover(trial: Trial, points: Sequence[Point] | None = None, *, search: bool = True) -> Coverage:
    """What neither the trial's own point nor `points` reach; by default `structured_points`.

    A loop that Python unrolled is one decision: a branch is one for each line, operation and side. With
    `search`, `Coverage.points` are at most `MOST_POINTS` for a further comparison: at those a fault
    shows that lies behind a branch, and one that lies between a threshold and the right one.
    """
    survey = Survey(Watch(trial.subject, trial.probes[0].dy))
    if survey.watch.empty:
        return Coverage((), (), ())
    if survey.watch.size > MOST_EQUATIONS:
        reason = f"nothing was looked at: {survey.watch.size} equations with its loops unrolled"
        return Coverage((Branch(trial.subject.name, "loop", reason),), (), ())
    survey.add(Input("the given point", _vector(trial.subject)))
    for point in structured_points(trial) if points is None else points:
        survey.add(Input(point.name, _vector(point.subject)))
    refused = len(survey.refused)  # those are among the points that are compared anyway
    missing, approaches = survey.missing(), _approaches(survey)
    chosen: list[Input] = []
    if search:
        leaves = real_leaves(trial.subject)
        fixed = sum(np.size(leaf) for path, leaf in leaves if path.split("/")[0] == "params")
        explore(survey, _vector(trial.subject), fixed, trial.seed)
        reached = (survey.reached[key].get(side) for key, side in missing)
        chosen += {id(found): found for found in reached if found is not None}.values()
        for key in _one_a_line(survey):
            chosen += survey.threshold(key, trial.seed)
        chosen = [*survey.refused[refused:][:1], *chosen]  # where the comparison will say so
    return Coverage(
        _branches(survey, missing),
        approaches,
        tuple(Point(item.name, _at(trial.subject, item.vector)) for item in chosen[:MOST_POINTS]),
    )


def _branches(survey: Survey, missing: Sequence[tuple[Key, str]]) -> tuple[Branch, ...]:
    named: dict[tuple[str, str, str], str] = {}
    for key, side in missing:
        site, found = survey.watch.sites[key], survey.reached[key].get(side)
        named[site.source, site.operation, side] = "" if found is None else found.name
    return tuple(Branch(*names, reached_by) for names, reached_by in named.items())


def _approaches(survey: Survey) -> tuple[Approach, ...]:
    return tuple(
        Approach(
            site.source,
            site.operation,
            {side: survey.approach.get((key, side), np.inf) for side in site.sides},
        )
        for key in survey.reached
        for site in [survey.watch.sites[key]]
    )


def _one_a_line(survey: Survey) -> list[Key]:
    first: dict[tuple[str, str], Key] = {}
    for key in survey.reached:
        site = survey.watch.sites[key]
        first.setdefault((site.source, site.operation), key)
    return list(first.values())


def _vector(subject: Subject) -> Vector:
    return as_vector([leaf for _, leaf in real_leaves(subject)])


def _at(subject: Subject, vector: Vector) -> Subject:
    leaves = [leaf for _, leaf in real_leaves(subject)]
    return with_real_leaves(subject, from_vector(vector, leaves))
