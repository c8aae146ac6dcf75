"""BFGS: the whole inverse Hessian, for problems of at most a few thousand parameters."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from fnn.layer import Array, PyTree
from fnn.optimizers.hyperparameters import (
    Given,
    Hyper,
    current_hyper,
    first_step_if_scheduled,
    initial_hyper,
    next_step,
)
from fnn.optimizers.minimizers.line_search import line_search
from fnn.optimizers.minimizers.minimizer import Minimizer, Objective, Reached, somewhere
from fnn.optimizers.minimizers.quasi_newton import (
    change,
    check_search,
    curved,
    descending,
    reached_by,
)
from fnn.optimizers.minimizers.vectors import flattened, scalar_dtype, scaled, unflattened


class BFGSState(NamedTuple):
    """What `bfgs` remembers."""

    steps: Array | None  # (), int32, made so far; None where nothing depends on it
    hyper: Hyper  # rate, c1, c2, as far as they were given as numbers
    reached: Reached
    inverse: Array  # (n, n), the inverse Hessian over the n parameters in order, at least float32
    used: Array  # (), int32, pairs used since the last restart


def bfgs(
    rate: Given = 1.0, c1: Given = 1e-4, c2: Given = 0.9, *, max_evaluations: int = 20
) -> Minimizer:
    """Broyden, Fletcher, Goldfarb, Shanno: an inverse Hessian that has seen every step.

        z = H g;   params ← params - length · z, with the length from the strong-Wolfe line search
        s = the step, y = the change of the gradient over it, r = 1 / s·y
        H ← (1 - r s yᵀ) H (1 - r y sᵀ) + r s sᵀ,  the first time from H = (s·y / y·y) 1

    The first direction is -g, not longer than 1. A pair is used if s·y > ε y·y, with the ε of the
    dtype. When the search finds no lower point, H is forgotten, and the next step is along -g again.

    Hyperparameters: rate (the first step length looked at), c1, c2. The state holds n² numbers for n
    parameters, at least float32, and the last gradient.
    Source: Nocedal, Wright (2006), algorithm 6.1.

    Args:
      rate: the first step length of each search; 1 is Newton's.
      c1: see `line_search`.
      c2: see `line_search`.
      max_evaluations: of the objective by one search.

    Raises:
      ValueError: constants of the search that make no sense, or a rate out of range.
    """
    hyper = {"rate": rate, "c1": c1, "c2": c2}
    check_search(hyper, max_evaluations)

    def init(params: PyTree) -> BFGSState:
        n, dtype = sum(leaf.size for leaf in jax.tree.leaves(params)), scalar_dtype(params)
        return BFGSState(
            first_step_if_scheduled(*hyper.values()),
            initial_hyper(**hyper),
            somewhere(params),
            jnp.asarray(np.eye(n, dtype=dtype), dtype),
            jnp.asarray(np.zeros((), np.int32)),
        )

    def update(
        objective: Objective, value: Array, grads: PyTree, state: BFGSState, params: PyTree
    ) -> tuple[PyTree, BFGSState]:
        now = current_hyper(state.hyper, state.steps, **hyper)
        dtype = state.inverse.dtype
        newton = unflattened(-_times(state.inverse, flattened(grads, dtype)), params)
        direction, fresh = descending(newton, grads, state.used == 0)
        search = line_search(
            objective, value, grads, params, direction, now["rate"], c1=now["c1"], c2=now["c2"],
            max_evaluations=max_evaluations,
        )  # fmt: skip
        updates = scaled(search.step, direction)
        s, y = flattened(updates, dtype), flattened(change(search.grads, grads), dtype)
        sy, yy = (s * y).sum(), (y * y).sum()
        good, forget = curved(sy, yy), ~search.decreased
        identity = jnp.eye(s.size, dtype=dtype)
        scale = sy / jnp.where(good, yy, 1)
        inverse = jnp.where(state.used == 0, scale * identity, state.inverse)
        inverse = jnp.where(good, _updated(inverse, s, y, jnp.where(good, sy, 1)), state.inverse)
        return updates, BFGSState(
            next_step(state.steps),
            state.hyper,
            reached_by(search, state.reached, fresh),
            jnp.where(forget, identity, inverse),
            jnp.where(forget, 0, state.used + good.astype(jnp.int32)),
        )

    return Minimizer(init, update)


def _updated(inverse: Array, s: Array, y: Array, sy: Array) -> Array:
    """(1 - r s yᵀ) H (1 - r y sᵀ) + r s sᵀ in n² operations: z = H y is all that it takes of H."""
    z = _times(inverse, y)
    cross = jnp.outer(s, z)
    return inverse + ((sy + (y * z).sum()) / sy * jnp.outer(s, s) - cross - cross.T) / sy


def _times(matrix: Array, vector: Array) -> Array:
    return jnp.matmul(matrix, vector, precision=jax.lax.Precision.HIGHEST)
