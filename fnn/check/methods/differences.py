"""The hand-written backward against central differences: the forward pass alone as the witness.

Along a random direction t of one leaf, with D(h) = (f(θ + h t) − f(θ − h t)) / 2h,

    D = (4 D(h/2) − D(h)) / 3        Richardson's extrapolation, and D(h/2) − D(h) its own error estimate

and ⟨D, dy⟩ is compared with ⟨t, backward(dy)⟩. The first h is the cube root of the machine epsilon
times the leaf's root mean square, which balances the truncation error h² with the rounding ε / h.

An output that has a kink between θ − h t and θ + h t has no derivative to compare with. It shows itself,
in the one-sided differences or between D(h) and D(h/2), and is given the cotangent 0 on both sides
of the comparison. Where the two disagree, or too little is left, or the estimate is too wide, smaller
steps are tried. A failure is one that none of them cures; without one, the verdict is ``undecided``.
"""

from typing import NamedTuple

import numpy as np

from fnn.check.compare import FLOOR, Array, compare_products, floor_of, norm, ratio
from fnn.check.precision import exact
from fnn.check.probes import direction
from fnn.check.reports.report import Row
from fnn.check.subject import (
    Gradient,
    as_vector,
    from_vector,
    hand_leaves,
    point,
    real_leaves,
    with_real_leaves,
)
from fnn.check.trial import Trial, run_backward, run_forward

EPSILON = float(np.finfo(np.float64).eps)
STEPS = (1.0, 1e-1, 1e-2, 1e-3, 1e-4)  # of the first h
WIDEST = 1e-3  # an error estimate above this part of a usual gradient decides nothing
LEAST_SHARE = 0.1  # of ‖dy‖² on outputs without a kink
SAFETY = 3.0  # tolerated errors, in units of the error estimate
ULPS = 8.0  # the rounding of an output, in units in its last place


class _Quotient(NamedTuple):
    """D and its error estimate by output element, and which elements have a kink within the step."""

    value: Array
    error: Array
    kink: Array


def numerical(trial: Trial, *, tolerance: float = 1e-6) -> tuple[Row, ...]:
    """One direction for each leaf, on the normal probe; widened by the error estimate: one row a leaf."""
    with exact():
        return tuple(
            _leaf(trial, i, path, np.asarray(leaf), tolerance)
            for i, (path, leaf) in enumerate(real_leaves(trial.subject))
            if hand_leaves(trial.subject, trial.hand[0])[i] is not None
        )


def _leaf(trial: Trial, i: int, path: str, leaf: Array, tolerance: float) -> Row:
    """The first comparison that agrees; else the first that decided; else one that could not."""
    first = EPSILON ** (1 / 3) * (_rms(leaf[np.isfinite(leaf)]) or 1.0)
    tangent = direction(leaf.shape, trial.seed, i)
    wrong = None
    for step in STEPS:
        row = _compare(trial, i, path, tangent, step * first, tolerance)
        # A smaller step has more rounding; what could hardly see the failure does not cure it.
        if row.verdict == "ok" and (wrong is None or row.tolerance < 0.1 * wrong.relative):
            return row
        if row.verdict == "wrong" and wrong is None:
            wrong = row
    return wrong or row


def _compare(trial: Trial, i: int, path: str, tangent: Array, step: float, tolerance: float) -> Row:
    subject = trial.subject
    quotient = _quotient(trial, i, tangent, step)
    dy = as_vector(trial.probes[0].dy)
    kept = np.where(quotient.kink, 0.0, dy)
    gradient = trial.hand[0]
    if quotient.kink.any():
        cotangent = from_vector(kept, trial.y)
        gradient = Gradient(*run_backward(subject.backward, subject.params, trial.cache, cotangent))
    by_hand = hand_leaves(subject, gradient)[i]
    if by_hand is None:
        raise TypeError(f"{subject.name}: the shape of the gradient of {path} depends on dy")
    floor = floor_of(kept, gain=ratio(norm(quotient.value), norm(tangent)))
    hand_terms, reference_terms = tangent * by_hand, quotient.value * kept
    scale = max(norm(hand_terms), norm(reference_terms), floor)
    rounding = ULPS * EPSILON * norm(as_vector(trial.y) * kept) / step
    error = SAFETY * norm(quotient.error * kept) + rounding
    row = compare_products(
        "numerical",
        path,
        hand_terms,
        reference_terms,
        floor=floor,
        tolerance=max(tolerance, ratio(error, scale)),
        probe="normal",
    )
    usual = max(norm(reference_terms), floor / FLOOR)
    if norm(kept) ** 2 >= LEAST_SHARE * norm(dy) ** 2 and error <= WIDEST * usual:
        return row
    why = (
        f"no step decides: {int(quotient.kink.sum())} of {dy.size} outputs have a kink within it, "
        f"and by its own estimate it is wrong by {error:.1e} where {usual:.1e} is usual"
    )
    return row._replace(verdict="undecided", predicate=why)


def _quotient(trial: Trial, i: int, tangent: Array, step: float) -> _Quotient:
    center = as_vector(trial.y)
    ahead, behind = (_output(trial, i, s * step * tangent) for s in (1, -1))
    half_ahead, half_behind = (_output(trial, i, s * step / 2 * tangent) for s in (1, -1))
    with np.errstate(invalid="ignore", over="ignore"):  # NaN and inf go through to the comparison
        coarse = (ahead - behind) / (2 * step)
        fine = (half_ahead - half_behind) / step
        # How far the one-sided differences are apart: halved with the step, but not across a kink.
        gap = np.abs(ahead - 2 * center + behind) / step
        half_gap = np.abs(half_ahead - 2 * center + half_behind) / (step / 2)
        rounding = 64 * EPSILON * (np.abs(center) + _rms(center)) / step
        kink = half_gap > 0.75 * gap + rounding
        kink |= np.abs(coarse - fine) > 1e-5 * _rms(fine) + rounding
        return _Quotient((4 * fine - coarse) / 3, fine - coarse, kink)


def _output(trial: Trial, i: int, displacement: Array) -> Array:
    """The forward pass with leaf i displaced."""
    leaves = [np.asarray(leaf) for _, leaf in real_leaves(trial.subject)]
    leaves[i] = leaves[i] + displacement
    displaced = with_real_leaves(trial.subject, leaves)
    y, _ = run_forward(trial.subject.forward, *point(displaced))
    return as_vector(y)


def _rms(array: Array) -> float:
    return norm(array) / np.sqrt(max(array.size, 1))
