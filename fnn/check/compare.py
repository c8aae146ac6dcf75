"""When two gradients are called equal.

    ‖hand − reference‖ <= tolerance · max(‖reference‖, floor)        for one leaf, one probe

A true gradient can be zero where large terms cancel: a bias before a batch norm, a softmax under a
cotangent of ones. What rounding leaves of it is no error, so the denominator has a floor,

    floor = 1e-4 · ‖dy‖ · max(gain, 0.1),

with the gain the largest factor by which any leaf of this subject answered any probe. At a tolerance
of 1e-10 it forgives some fifty units in the last place of the terms that cancel, and nothing else.
"""

from typing import Any

import numpy as np

from fnn.check.reports.report import Row

Array = np.ndarray[Any, Any]

FLOOR = 1e-4
LEAST_GAIN = 0.1


def norm(array: Array) -> float:
    """The Euclidean norm over all elements; infinite where it is beyond the range."""
    with np.errstate(over="ignore", invalid="ignore"):
        # Not `np.linalg.norm`: its dot product starts threads, which cost more than the sum.
        return float(np.sqrt(np.square(array).sum()))


def floor_of(dy: Array, gain: float) -> float:
    """The norm below which a gradient is rounding: see the formula above."""
    return FLOOR * norm(dy) * max(gain, LEAST_GAIN)


def ratio(numerator: float, denominator: float) -> float:
    """numerator / denominator, where 0 / 0 is 0."""
    if denominator == 0:
        return 0.0 if numerator == 0 else float("inf")
    return numerator / denominator


def compare_arrays(
    method: str,
    path: str,
    hand: Array,
    reference: Array,
    *,
    floor: float,
    tolerance: float,
    probe: str,
) -> Row:
    """Compare a leaf's gradient in norm, and find the element where it is worst."""
    with np.errstate(invalid="ignore", over="ignore"):  # what is not finite is judged below
        error = hand - reference
        relative = ratio(norm(error), max(norm(reference), floor))
    worst = int(np.argmax(np.abs(error))) if error.size else 0  # a NaN counts as the largest
    index = tuple(int(i) for i in np.unravel_index(worst, error.shape)) if error.size else None
    return Row(
        method=method,
        path=path,
        relative=relative,
        absolute=float(np.abs(error[index])) if error.size else 0.0,
        element=index,
        hand=float(hand[index]) if error.size else 0.0,
        reference=float(reference[index]) if error.size else 0.0,
        tolerance=tolerance,
        verdict="ok" if relative <= tolerance else "wrong",
        predicate=f"‖hand − reference‖ <= {tolerance:.0e} · max(‖reference‖, {floor:.1e}), "
        f"{probe} dy",
    )


def compare_products(
    method: str,
    path: str,
    hand_terms: Array,
    reference_terms: Array,
    *,
    floor: float,
    tolerance: float,
    probe: str,
) -> Row:
    """Compare two inner products, each the sum of its terms, on the scale of those terms.

    The scale is the root of the sum of their squares, which is the size of a sum of as many random
    terms: a sum that happens to cancel is no stricter test, and a larger array no weaker one.
    """
    with np.errstate(invalid="ignore", over="ignore"):
        hand, reference = float(hand_terms.sum()), float(reference_terms.sum())
        scale = max(norm(hand_terms), norm(reference_terms), floor)
        relative = ratio(abs(hand - reference), scale)
    return Row(
        method=method,
        path=path,
        relative=relative,
        absolute=abs(hand - reference),
        element=None,
        hand=hand,
        reference=reference,
        tolerance=tolerance,
        verdict="ok" if relative <= tolerance else "wrong",
        predicate=f"|⟨t, hand⟩ − ⟨J t, dy⟩| <= {tolerance:.1e} · {scale:.1e}, the root of the "
        f"summed squares of the terms, t on {path} alone, {probe} dy",
    )
