"""Whether a gradient at a point is rounding: reverse mode moves when the last places of the point do."""

import numpy as np

from fnn.check.compare import norm
from fnn.check.methods.references import auto_gradients
from fnn.check.points import Point
from fnn.check.subject import Vector, real_leaves, with_real_leaves
from fnn.check.trial import Trial

JITTERS = 4  # neighbours at which noise shows itself
EPSILON = float(np.finfo(np.float64).eps)


def is_noise(trial: Trial, candidate: Point, i: int, error: Vector) -> bool:
    """Whether reverse mode itself moves by as much as the error, when the last places of the point do.

    Equal elements are moved alike, so that ties and zeros stay: a kink is no noise. But where a constant
    batch is normalized and rectified, its deviations are rounding, and so are their signs.
    """
    if not np.isfinite(error).all():
        return False
    subject, rng = candidate.subject, np.random.default_rng((trial.seed, i, 2))
    leaves = [np.asarray(leaf) for _, leaf in real_leaves(subject)]
    here, *others = (
        auto_gradients(with_real_leaves(subject, moved), [trial.probes[0].dy])[0][i]
        for moved in (leaves, *([_jittered(leaf, rng) for leaf in leaves] for _ in range(JITTERS)))
    )
    with np.errstate(invalid="ignore"):
        moves = max(norm(np.nan_to_num(other - here)) for other in others)
        return moves > 0.1 * norm(error)


def _jittered(leaf: Vector, rng: np.random.Generator) -> Vector:
    values, places = np.unique(leaf, return_inverse=True)
    moved = values * (1 + 2 * EPSILON * rng.integers(-2, 3, values.shape))
    return moved[places].reshape(leaf.shape)
