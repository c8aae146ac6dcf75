"""One row a leaf, its worst probe: what methods that look at all leaves and all probes have in common."""

from collections.abc import Sequence

from fnn.check.compare import compare_arrays, compare_products, floor_of, norm, ratio
from fnn.check.reports.report import Row, worst_of
from fnn.check.subject import Vector, as_vector, hand_leaves, real_leaves
from fnn.check.trial import Trial


def element_rows(
    method: str,
    trial: Trial,
    truth: Sequence[Sequence[Vector]],
    floors: Sequence[float],
    tolerance: float,
) -> list[Row]:
    """Every element of every leaf against ``truth[probe][leaf]``, with one floor a probe."""
    hand = [hand_leaves(trial.subject, gradient) for gradient in trial.hand]
    rows = []
    for i, (path, _) in enumerate(real_leaves(trial.subject)):
        compared = [
            compare_arrays(
                method,
                path,
                by_hand,
                expected[i],
                floor=floor,
                tolerance=tolerance,
                probe=probe.name,
            )
            for probe, floor, expected, leaves in zip(
                trial.probes, floors, truth, hand, strict=True
            )
            if (by_hand := leaves[i]) is not None
        ]
        if compared:  # `structure` says so where there is none
            rows.append(worst_of(compared))
    return rows


def product_rows(
    method: str,
    trial: Trial,
    tangents: Sequence[Vector],
    images: Sequence[Vector],
    tolerance: float,
) -> list[tuple[int, Row]]:
    """``⟨t, Jᵀ dy⟩`` by hand against ``⟨J t, dy⟩``, for a tangent t and its image J t of each leaf alone.

    With each row comes the number of its leaf: one whose gradient is missing or misshapen has none.
    """
    gain = max(
        (
            ratio(norm(image), norm(tangent))
            for image, tangent in zip(images, tangents, strict=True)
            if norm(tangent) > 0
        ),
        default=0.0,
    )
    hand = [hand_leaves(trial.subject, gradient) for gradient in trial.hand]
    rows = []
    for i, (path, _) in enumerate(real_leaves(trial.subject)):
        compared = [
            compare_products(
                method,
                path,
                tangents[i] * by_hand,
                images[i] * dy,
                floor=floor_of(dy, gain),
                tolerance=tolerance,
                probe=probe.name,
            )
            for probe, gradients in zip(trial.probes, hand, strict=True)
            if (by_hand := gradients[i]) is not None
            for dy in [as_vector(probe.dy)]
        ]
        if compared:  # `structure` says so where there is none
            rows.append((i, worst_of(compared)))
    return rows
