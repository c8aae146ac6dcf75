"""Sharpness-aware minimization: descend by the gradient at the worst place nearby."""

from typing import NamedTuple

import jax.numpy as jnp

from fnn.layer import Array, PyTree
from fnn.optimizers.hyperparameters import (
    Given,
    Hyper,
    check_hyper,
    current_hyper,
    first_step_if_scheduled,
    initial_hyper,
    next_step,
)
from fnn.optimizers.minimizers.minimizer import Minimizer, Objective, Reached, nowhere
from fnn.optimizers.minimizers.vectors import norm, scalar_dtype, scaled
from fnn.optimizers.optimizer import Optimizer, apply_updates, check_transform


class SharpnessState(NamedTuple):
    """What `sam` remembers."""

    steps: Array | None  # (), int32, made so far; None where nothing depends on it
    hyper: Hyper  # radius, if it was given as a number
    reached: Reached
    optimizer: PyTree  # the inner optimizer's


def sam(optimizer: Optimizer, radius: Given = 0.05) -> Minimizer:
    """Two gradients a step: the second, which the optimizer gets, where the first leads up to.

        e ← radius · g / ‖g‖, over all parameters        g ← ∇f(params + e)
        params ← params + the optimizer's update by g, from where they were

    A gradient of 0 leads nowhere. `train.step` looks at the first gradient and at the update alone;
    ``sam(skip_nonfinite(optimizer))`` looks at the second gradient as well, whose squares may overflow
    in the optimizer's state where those of the first do not.

    Hyperparameters: radius, and the optimizer's. The state holds the optimizer's.
    Source: Foret, Kleiner, Mobahi, Neyshabur (2021).

    Raises:
      TypeError: what gets the second gradient is no optimizer of one gradient a step.
      ValueError: the radius is negative or not finite.
    """
    check_transform(optimizer, "sam")
    check_hyper(radius=radius)

    def init(params: PyTree) -> SharpnessState:
        return SharpnessState(
            first_step_if_scheduled(radius),
            initial_hyper(radius=radius),
            nowhere(),
            optimizer.init(params),
        )

    def update(
        objective: Objective, value: Array, grads: PyTree, state: SharpnessState, params: PyTree
    ) -> tuple[PyTree, SharpnessState]:
        del value  # the step depends on gradients alone
        now = current_hyper(state.hyper, state.steps, radius=radius)
        dtype = scalar_dtype(params)
        size = norm(grads, dtype)
        length = now["radius"].astype(dtype) / jnp.where(size == 0, jnp.ones_like(size), size)
        _, sharp = objective(apply_updates(params, scaled(length, grads)))
        updates, inner = optimizer.update(sharp, state.optimizer, params)
        reached = state.reached._replace(evaluations=state.reached.evaluations + 1)
        return updates, SharpnessState(next_step(state.steps), state.hyper, reached, inner)

    return Minimizer(init, update)
