"""The adjoint identity: the hand-written backward against forward mode, `jax.jvp`.

    ⟨J t, dy⟩ = ⟨t, Jᵀ dy⟩

with J t by `jax.jvp`, Jᵀ dy by hand, and the tangent t on one leaf alone, so that the leaf is named.
The reference runs outside of `jit`, for the reason that `reverse` gives.
"""

import jax
import jax.numpy as jnp
import numpy as np

from fnn.check.compare import compare_products, floor_of, norm, ratio
from fnn.check.precision import exact
from fnn.check.probes import direction
from fnn.check.reports.report import Row, worst_of
from fnn.check.trial import Subject, Trial, Vector, as_vector, hand_leaves, real_leaves, split
from fnn.layer import PyTree


def forward_mode(trial: Trial, *, tolerance: float = 1e-10) -> tuple[Row, ...]:
    """One seeded tangent for each leaf, against every probe: one row a leaf, its worst probe."""
    subject = trial.subject
    leaves = real_leaves(subject)
    tangents = [direction(leaf.shape, trial.seed, i) for i, (_, leaf) in enumerate(leaves)]
    zeros = [np.zeros(leaf.shape) for _, leaf in leaves]
    images = [
        _jvp(subject, [*zeros[:i], tangent, *zeros[i + 1 :]]) for i, tangent in enumerate(tangents)
    ]
    gain = max(
        (
            ratio(norm(image), norm(tangent))
            for image, tangent in zip(images, tangents, strict=True)
            if norm(tangent) > 0
        ),
        default=0.0,
    )
    hand = [hand_leaves(subject, gradient) for gradient in trial.hand]
    rows = []
    for i, (path, _) in enumerate(leaves):
        compared = [
            compare_products(
                "forward mode",
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
        if compared:
            rows.append(worst_of(compared))
    return tuple(rows)


def _jvp(subject: Subject, tangents: list[Vector]) -> Vector:
    """J t by `jax.jvp`, for tangents on the real leaves of (params, x)."""
    real, merge = split(subject.params, subject.x)

    def output(real: list[jax.Array]) -> PyTree:
        params, x = merge(real)
        return subject.forward(params, subject.state, x, subject.key)[0]

    with exact():
        _, image = jax.jvp(output, (real,), ([jnp.asarray(tangent) for tangent in tangents],))
        return as_vector(image)
