"""The adjoint identity: the hand-written backward against forward mode, `jax.jvp`.

    ⟨J t, dy⟩ = ⟨t, Jᵀ dy⟩

with J t by `jax.jvp`, Jᵀ dy by hand, and the tangent t on one leaf alone, so that the leaf is named.
The reference runs outside of `jit`, for the reason that `reverse` gives.
"""

from typing import Any

import jax
import numpy as np

from fnn.check.methods.references import at, output_of
from fnn.check.methods.rows import product_rows
from fnn.check.precision import exact
from fnn.check.probes import direction
from fnn.check.remembered import traced_once
from fnn.check.reports.report import Row
from fnn.check.subject import as_vector, point, real_leaves
from fnn.check.trial import Trial
from fnn.layer import ForwardFunction, Key, PyTree


def forward_mode(trial: Trial, *, tolerance: float = 1e-10) -> tuple[Row, ...]:
    """One seeded tangent for each leaf, against every probe: one row a leaf, its worst probe."""
    subject = trial.subject
    leaves = real_leaves(subject)
    tangents = [direction(leaf.shape, trial.seed, i) for i, (_, leaf) in enumerate(leaves)]
    zeros = [np.zeros(leaf.shape) for _, leaf in leaves]
    with exact():
        images = [
            as_vector(
                _jvp(
                    subject.forward,
                    *point(subject),
                    jax.device_put([*zeros[:i], tangent, *zeros[i + 1 :]]),
                )
            )
            for i, tangent in enumerate(tangents)
        ]
    rows = product_rows("forward mode", trial, tangents, images, tolerance)
    return tuple(row for _, row in rows)


@traced_once(1)
def _jvp(
    forward: ForwardFunction,
    params: PyTree,
    state: PyTree,
    x: PyTree,
    key: Key,
    tangents: list[Any],
) -> PyTree:
    """J t by `jax.jvp`, for tangents on the real leaves of (params, x)."""
    subject = at(forward, params, state, x, key)
    real = [leaf for _, leaf in real_leaves(subject)]
    return jax.jvp(output_of(subject), (real,), (tangents,))[1]
