"""The order in which the hypotheses are asked."""

from collections.abc import Callable, Iterable

import numpy as np

from fnn.check.diagnosis.combinations import combination, without_upstream
from fnn.check.diagnosis.elements import examples, region, rounded
from fnn.check.diagnosis.elsewhere import only_where, transposed_argument
from fnn.check.diagnosis.evidence import Evidence, Leaf, gather, leaf_of
from fnn.check.diagnosis.misshapen import misshapen
from fnn.check.diagnosis.whole import (
    absolute,
    another_leaf,
    clipped,
    constant_offset,
    factor,
    moved,
    not_finite,
    not_linear,
    rescaled,
    transposed,
    upstream,
    zero,
)
from fnn.check.points import structured_points
from fnn.check.reports.report import Row
from fnn.check.trial import Trial, attempt

_DIFFERENT = 1e-12  # ‖h − g‖ / ‖g‖ below which there is nothing to explain


def diagnose(trial: Trial, row: Row) -> str:
    """The likely fault behind a failing row, or "" where no hypothesis fits all probes."""
    return "" if row.ok else explained(trial, [row])[0].likely


def explained(trial: Trial, rows: Iterable[Row]) -> tuple[Row, ...]:
    """The rows, with `likely` filled in for those that fail; a trial without a failure costs nothing.

    A leaf that is right at the trial's point is diagnosed at the structured point that its row names.
    """
    rows = tuple(rows)
    failing = [row for row in rows if not row.ok]
    if not failing:
        return rows
    with np.errstate(all="ignore"):  # a hypothesis that overflows does not fit
        here = gather(trial)
        likely = {path: _of_leaf(here, path) for path in dict.fromkeys(row.path for row in failing)}
        elsewhere = {
            row: _at_its_point(trial, row) for row in failing if row.path and not likely[row.path]
        }
    return tuple(
        row if row.ok else row._replace(likely=likely[row.path] or elsewhere.get(row, ""))
        for row in rows
    )


def _at_its_point(trial: Trial, row: Row) -> str:
    """The diagnosis at the structured point of which the row's predicate speaks, if it speaks of one."""
    for point in structured_points(trial):
        if f"at {point.name}" in row.predicate:
            found = _of_leaf(gather(attempt(point.subject, seed=trial.seed)), row.path)
            return f"at {point.name}, {found}" if found else ""
    return ""


def _of_leaf(evidence: Evidence, path: str) -> str:
    if found := misshapen(evidence.trial, path):
        return found
    if path not in evidence.hand:
        return ""
    leaf = leaf_of(evidence, path)
    if found := not_finite(leaf):
        return found
    if leaf.error <= _DIFFERENT * float((leaf.true**2).sum()) ** 0.5:
        return ""
    hypotheses: tuple[Callable[[Leaf], str], ...] = (
        zero,
        factor,
        _no_upstream,
        another_leaf,
        transposed,
        moved,
        clipped,
        absolute,
        rescaled,
        rounded,
        examples,
        region,
        transposed_argument,
        constant_offset,
        combination,
        not_linear,
        only_where,
    )
    return next((found for hypothesis in hypotheses if (found := hypothesis(leaf))), "")


def _no_upstream(leaf: Leaf) -> str:
    found = upstream(leaf)
    return found + without_upstream(leaf) if found else ""
