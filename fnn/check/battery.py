"""Which methods a check runs, in which order, and how what they found becomes one verdict.

Each method is a function of its own; here they have one signature and a name, so that a check can be
asked for some of them. `METHODS` are all. `AT_SIZE` are those whose cost grows with the subject as that
of one gradient does: what `check.network` runs on the layers of a large network.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

import jax
import numpy as np

from fnn.check.branches.cover import cover
from fnn.check.diagnosis import explained
from fnn.check.methods.complex_step import complex_step
from fnn.check.methods.contract import deterministic, eager, given_structure, linearity, structure
from fnn.check.methods.convention import Convention
from fnn.check.methods.differences import numerical
from fnn.check.methods.forward import forward_mode
from fnn.check.methods.jacobian import jacobian
from fnn.check.methods.kinks import kinks
from fnn.check.methods.low_precision import low_precision
from fnn.check.methods.reverse import reverse_mode
from fnn.check.methods.second_order import second_order
from fnn.check.methods.transforms import transforms
from fnn.check.points import Point, structured_points
from fnn.check.precision import dtype_of
from fnn.check.reports.report import Branch, Row
from fnn.check.subject import Subject
from fnn.check.trial import Trial

Method = Callable[[Subject, Trial, float], Sequence[Row]]


class Findings(NamedTuple):
    """What the methods found on one trial."""

    rows: tuple[Row, ...]
    branches: tuple[Branch, ...]


def structure_rows(given: Subject, trial: Trial) -> tuple[Row, ...]:
    """The structure in float64 and in the dtypes given: one row a leaf, the one that is wrong if any."""
    found = list(structure(trial))
    if not _has_float64(given):  # else `jax.eval_shape` would see it cut down to float32
        found += given_structure(given)
    by_path: dict[str, list[Row]] = {}
    for row in found:
        by_path.setdefault(row.path, []).append(row)
    return tuple(next((row for row in rows if not row.ok), rows[0]) for rows in by_path.values())


def _analytic(given: Subject, trial: Trial, tolerance: float) -> Iterator[Row]:
    """The complex step where the forward pass allows it; elsewhere it has nothing to say."""
    return (row for row in complex_step(trial, tolerance=tolerance) if row.verdict != "undecided")


_BY_NAME: Mapping[str, Method] = MappingProxyType(
    {
        "structure": lambda given, trial, tolerance: structure_rows(given, trial),
        "reverse mode": lambda given, trial, tolerance: reverse_mode(trial, tolerance=tolerance),
        "forward mode": lambda given, trial, tolerance: forward_mode(trial, tolerance=tolerance),
        "numerical": lambda given, trial, tolerance: numerical(trial),
        "linearity": lambda given, trial, tolerance: linearity(trial, tolerance=tolerance),
        "eager": lambda given, trial, tolerance: eager(trial, tolerance=tolerance),
        "deterministic": lambda given, trial, tolerance: deterministic(trial),
        "jacobian": lambda given, trial, tolerance: jacobian(trial, tolerance=tolerance),
        "second order": lambda given, trial, tolerance: second_order(trial),
        "complex step": lambda given, trial, tolerance: tuple(_analytic(given, trial, tolerance)),
        "transforms": lambda given, trial, tolerance: transforms(trial),
        "low precision": lambda given, trial, tolerance: low_precision(given, trial),
    }
)
# Kinks are the thirteenth: they also take the convention and the points that the branches ask for.
METHODS = (*_BY_NAME, "kinks")
AT_SIZE = METHODS[:7]
# Their reference is autodiff, which has a convention of its own at a kink.
_BY_AUTODIFF = ("reverse mode", "forward mode", "jacobian", "complex step", "second order")


def examine(
    given: Subject,
    trial: Trial,
    *,
    tolerance: float = 1e-10,
    methods: Sequence[str] = METHODS,
    convention: Convention | None = None,
) -> Findings:
    """Run `methods` on one trial; `given` is its subject before it was raised to float64.

    What differs from autodiff only where the function has no derivative is called a ``kink``, and each
    failure gets the fault that its evidence fits, if there is one.

    Raises:
      ValueError: a method of another name than those of `METHODS`.
    """
    unknown = [name for name in methods if name not in METHODS]
    if unknown:
        raise ValueError(f"expected methods among {', '.join(METHODS)}, got {', '.join(unknown)}")
    rows = [
        row
        for name, method in _BY_NAME.items()
        if name in methods
        for row in method(given, trial, tolerance)
    ]
    branches: tuple[Branch, ...] = ()
    if "kinks" in methods:
        rows = _excused(trial, rows, tolerance)
        covered = cover(trial)
        points = (*structured_points(trial), *covered.points)
        rows += kinks(trial, tolerance=tolerance, documented=convention, points=points)
        branches = covered.branches
    # A diagnosis differentiates the forward pass in reverse mode, which a foreign one may not have.
    return Findings(tuple(explained(trial, rows) if "reverse mode" in methods else rows), branches)


def _excused(trial: Trial, rows: list[Row], tolerance: float) -> list[Row]:
    """The rows with verdict ``kink`` where the given point itself has one and that is all."""
    suspects = {row.path for row in rows if not row.ok and row.method in _BY_AUTODIFF}
    if not suspects:
        return rows
    here = kinks(trial, tolerance=tolerance, points=(Point("the given point", trial.subject),))
    at_kink = {row.path: row.predicate for row in here if row.verdict == "kink"}
    return [
        row._replace(verdict="kink", predicate=at_kink[row.path])
        if not row.ok and row.method in _BY_AUTODIFF and row.path in at_kink
        else row
        for row in rows
    ]


def _has_float64(subject: Subject) -> bool:
    leaves = jax.tree.leaves((subject.params, subject.state, subject.x))
    return any(dtype_of(leaf) == np.float64 for leaf in leaves)
