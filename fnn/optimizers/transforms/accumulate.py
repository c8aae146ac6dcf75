"""Several small batches for one update, as if they had been one large batch."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from fnn.layer import Array, PyTree
from fnn.optimizers.leafwise import check_alike, check_kind, check_real, zeros
from fnn.optimizers.optimizer import Optimizer, check_transform

Operands = tuple[PyTree, PyTree, PyTree]  # mean, the inner state, params
Outcome = tuple[PyTree, PyTree, PyTree]  # updates, the next mean, the next inner state


class AccumulateState(NamedTuple):
    """What accumulation remembers besides the optimizer's own state."""

    gathered: Array  # (), int32: gradients in the mean, 0 to steps - 1
    mean: PyTree  # like params, at least float32: Σ g / steps over these gradients
    inner: PyTree  # the optimizer's state


def accumulate(optimizer: Optimizer, steps: int) -> Optimizer:
    """One update by the mean of `steps` gradients, and updates of zero in between.

    That is the update of the large batch made of these batches, if they are equally large and the
    network treats examples one by one. Batch norm does not: its statistics stay those of the small
    batches, whose mean gradient is another one than the large batch's. The optimizer's own steps and
    schedules count updates, not gradients. It costs one tree like the parameters, however many steps;
    in between, the optimizer is not run.

    Raises:
      TypeError: what is accumulated for is no optimizer of one gradient a step.
      ValueError: less than one step.
    """
    check_transform(optimizer, "accumulate")
    if steps < 1:
        raise ValueError(f"expected at least one step to accumulate, got {steps}")

    def init(params: PyTree) -> AccumulateState:
        check_real(params, "parameters")
        count = jnp.asarray(np.zeros((), np.int32))
        return AccumulateState(count, jax.tree.map(zeros, params), optimizer.init(params))

    # Made once, so that outside of `jit` a branch is compiled once.
    def make(operands: Operands) -> Outcome:
        mean, inner, params = operands
        updates, inner = optimizer.update(mean, inner, params)
        return updates, jax.tree.map(jnp.zeros_like, mean), inner

    def wait(operands: Operands) -> Outcome:
        mean, inner, _ = operands
        return jax.tree.map(jnp.zeros_like, mean), mean, inner

    def update(
        grads: PyTree, state: AccumulateState, params: PyTree
    ) -> tuple[PyTree, AccumulateState]:
        check_alike(grads, params, "gradients")
        check_real(grads, "gradients")
        check_kind(state, AccumulateState)

        def add(mean: Array, g: Array) -> Array:
            return mean + g.astype(mean.dtype) / np.asarray(steps, mean.dtype)

        mean = jax.tree.map(add, state.mean, grads)
        count = (state.gathered + 1) % steps
        # A branch, not a select: the optimizer runs once in `steps` calls.
        updates, mean, inner = jax.lax.cond(count == 0, make, wait, (mean, state.inner, params))
        return updates, AccumulateState(count, mean, inner)

    return Optimizer(init, update)
