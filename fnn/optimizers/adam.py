"""Adam."""

from typing import Any

import jax.numpy as jnp

from fnn.layer import Array
from fnn.optimizers.descent import descend
from fnn.optimizers.hyperparameters import Given, started
from fnn.optimizers.leafwise import leafwise, zeros
from fnn.optimizers.optimizer import Optimizer, compose


def scale_by_moments(b1: Given, b2: Given, eps: Given) -> Optimizer:
    """Adam's direction: the mean of the gradients over the root of the mean of their squares.

        m ← b1 · m + (1 - b1) · g        v ← b2 · v + (1 - b2) · g²        t ← t + 1
        u = (m / (1 - b1ᵗ)) / (√(v / (1 - b2ᵗ)) + eps)

    Source: Kingma, Ba (2015).

    Raises:
      ValueError: b1 or b2 is a number outside of [0, 1), or eps one that is negative or not finite.
    """

    def prepare(h: Any, t: Array) -> dict[str, Array]:
        # Reciprocals of scalars, so that no division by them is left for every parameter.
        return {"mean_scale": 1 / started(h.b1, t), "square_scale": 1 / started(h.b2, t)}

    def rule(h: Any, g: Array, p: Array, m: Array, v: Array) -> tuple[Array, Array, Array]:
        del p  # the step depends on the gradients alone
        m = h.b1 * m + (1 - h.b1) * g
        v = h.b2 * v + (1 - h.b2) * jnp.square(g)
        return m * h.mean_scale / (jnp.sqrt(v * h.square_scale) + h.eps), m, v

    return leafwise(
        rule,
        hyper={"b1": b1, "b2": b2, "eps": eps},
        slots={"mean": zeros, "square": zeros},
        prepare=prepare,
    )


def adam(rate: Given = 1e-3, b1: Given = 0.9, b2: Given = 0.999, eps: Given = 1e-8) -> Optimizer:
    """Adaptive moments, with the correction of their bias towards the zeros that they start from.

        m ← b1 · m + (1 - b1) · g        v ← b2 · v + (1 - b2) · g²        t ← t + 1
        params ← params - rate · (m / (1 - b1ᵗ)) / (√(v / (1 - b2ᵗ)) + eps)

    Hyperparameters: rate, b1, b2, eps. Moments are at least float32. Source: Kingma, Ba (2015).
    """
    return compose(moments=scale_by_moments(b1, b2, eps), rate=descend(rate))
