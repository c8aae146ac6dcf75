"""Adam."""

from fnn.layer import Array
from fnn.optimizers.optimizer import Optimizer, Schedule, compose
from fnn.optimizers.transforms import descend, scale_by_moments


def adam(
    rate: float | Array | Schedule = 1e-3,
    b1: float | Array | Schedule = 0.9,
    b2: float | Array | Schedule = 0.999,
    eps: float | Array | Schedule = 1e-8,
) -> Optimizer:
    """Adaptive moments, with the correction of their bias towards the zeros that they start from.

        m ← b1 · m + (1 - b1) · g        v ← b2 · v + (1 - b2) · g²        t ← t + 1
        params ← params - rate · (m / (1 - b1ᵗ)) / (√(v / (1 - b2ᵗ)) + eps)

    Hyperparameters: rate, b1, b2, eps. Moments are at least float32. Source: Kingma, Ba (2015).
    """
    return compose(moments=scale_by_moments(b1, b2, eps), rate=descend(rate))
