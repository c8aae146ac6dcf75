"""Quasi-Newton methods: the curvature is learnt from how the gradient changes along the steps.

Both take a step s along a direction that the line search finds the length of, and see y, the change of
the gradient over it, on one and the same batch. A pair with too little curvature along s is skipped.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

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
from fnn.optimizers.leafwise import filled
from fnn.optimizers.minimizers.line_search import Search, check_wolfe, line_search
from fnn.optimizers.minimizers.minimizer import Minimizer, Objective, Reached, somewhere
from fnn.optimizers.minimizers.vectors import (
    add_scaled,
    choose,
    dot,
    norm,
    scalar_dtype,
    scaled,
    wide,
)


class History(NamedTuple):
    """The last m pairs of a step and the change of the gradient over it."""

    steps: PyTree  # s, like params with m in front, at least float32
    changes: PyTree  # y, likewise
    inverses: Array  # (m,), 1 / s·y; 0 where there is no pair yet
    kept: Array  # (), int32, pairs kept since the last restart; pair k lies in row k mod m
    scale: Array  # (), s·y / y·y of the last pair: the first guess of the inverse Hessian


class LBFGSState(NamedTuple):
    """What `lbfgs` remembers."""

    steps: Array | None  # (), int32, made so far; None where nothing depends on it
    hyper: Hyper  # rate, c1, c2, as far as they were given as numbers
    reached: Reached
    history: History


def lbfgs(
    history: int = 10,
    rate: Given = 1.0,
    c1: Given = 1e-4,
    c2: Given = 0.9,
    *,
    max_evaluations: int = 20,
) -> Minimizer:
    """Limited-memory BFGS: the inverse Hessian as a product over the last few steps, never formed.

        s_k = the step k, y_k = the change of the gradient over it, r_k = 1 / s_k·y_k
        q ← g;  from the newest pair to the oldest:  a_k = r_k s_k·q,  q ← q - a_k y_k
        z ← (s·y / y·y of the newest) q;  from the oldest to the newest:  z ← z + (a_k - r_k y_k·z) s_k
        params ← params - length · z, with the length from the strong-Wolfe line search

    The first direction is -g, not longer than 1. A pair is kept if s·y > ε y·y, with the ε of the
    dtype. When the search finds no lower point, the pairs are forgotten, and the next step is along -g
    again. With mini-batches, y is the change of the gradient of one batch.

    Hyperparameters: rate (the first step length looked at), c1, c2. The state holds 2 · history arrays
    for each parameter, at least float32, and its last gradient.
    Sources: Nocedal (1980); Liu, Nocedal (1989).

    Args:
      history: how many pairs are kept.
      rate: the first step length of each search; 1 is Newton's.
      c1: see `line_search`.
      c2: see `line_search`.
      max_evaluations: of the objective by one search.

    Raises:
      ValueError: a history below 1, constants of the search that make no sense, or a rate out of range.
    """
    if history < 1:
        raise ValueError(f"expected a history of lbfgs of at least 1 pair, got {history}")
    hyper = {"rate": rate, "c1": c1, "c2": c2}
    check_search(hyper, max_evaluations)

    def init(params: PyTree) -> LBFGSState:
        dtype = scalar_dtype(params)

        def rows() -> PyTree:
            return jax.tree.map(lambda p: filled(p, (history, *p.shape), 0.0), params)

        return LBFGSState(
            first_step_if_scheduled(*hyper.values()),
            initial_hyper(**hyper),
            somewhere(params),
            History(
                rows(),
                rows(),
                jnp.asarray(np.zeros(history, dtype)),
                jnp.asarray(np.zeros((), np.int32)),
                jnp.asarray(np.ones((), dtype)),
            ),
        )

    def update(
        objective: Objective, value: Array, grads: PyTree, state: LBFGSState, params: PyTree
    ) -> tuple[PyTree, LBFGSState]:
        now = current_hyper(state.hyper, state.steps, **hyper)
        pairs = state.history
        direction = _two_loops(pairs, grads, scalar_dtype(params))
        direction, fresh = descending(direction, grads, pairs.kept == 0)
        search = line_search(
            objective, value, grads, params, direction, now["rate"], c1=now["c1"], c2=now["c2"],
            max_evaluations=max_evaluations,
        )  # fmt: skip
        updates = scaled(search.step, direction)
        kept = _keep(pairs, updates, change(search.grads, grads), ~search.decreased)
        reached = reached_by(search, state.reached, fresh)
        return updates, LBFGSState(next_step(state.steps), state.hyper, reached, kept)

    return Minimizer(init, update)


def check_search(hyper: dict[str, Given], max_evaluations: int) -> None:
    """Refuse hyperparameters that no search could be made with.

    Raises:
      ValueError: see `check_hyper` and `check_wolfe`.
    """
    check_hyper(**hyper)
    check_wolfe(hyper["c1"], hyper["c2"], max_evaluations)


def descending(direction: PyTree, grads: PyTree, fresh: Array) -> tuple[PyTree, Array]:
    """The direction, or -g, not longer than 1, if it is the first or does not go down; and which."""
    dtype = scalar_dtype(direction)
    fresh = fresh | ~(dot(direction, grads, dtype) < 0)
    steepest = scaled(-1 / jnp.maximum(norm(grads, dtype), 1), grads)
    return choose(fresh, steepest, direction), fresh


def change(after: PyTree, before: PyTree) -> PyTree:
    """``after - before``, in float32 or wider."""
    return jax.tree.map(jnp.subtract, wide(after), wide(before))


def reached_by(search: Search, before: Reached, fresh: Array) -> Reached:
    """What the line search found out; it is stuck if even -g leads to no lower point."""
    return Reached(
        before.evaluations + search.evaluations,
        ~search.decreased & fresh,
        search.value,
        search.grads,
    )


def curved(sy: Array, yy: Array) -> Array:
    """Whether a pair has enough curvature to be kept: s·y > ε y·y > 0, and finite."""
    enough = (sy > jnp.finfo(sy.dtype).eps * yy) & (yy > 0)
    return enough & jnp.isfinite(1 / jnp.where(enough, sy, 1)) & jnp.isfinite(yy)


def _two_loops(pairs: History, grads: PyTree, dtype: jnp.dtype) -> PyTree:
    """-H g, H the inverse Hessian that the pairs describe; an empty row changes nothing."""
    rows = pairs.inverses.shape[0]

    def row(tree: PyTree, k: Array) -> PyTree:
        return jax.tree.map(lambda a: jax.lax.dynamic_index_in_dim(a, k, keepdims=False), tree)

    def backwards(i: Array, carry: tuple[PyTree, Array]) -> tuple[PyTree, Array]:
        q, factors = carry
        k = jnp.mod(pairs.kept - 1 - i, rows)
        a = pairs.inverses[k] * dot(row(pairs.steps, k), q, dtype)
        return add_scaled(q, -a, row(pairs.changes, k)), factors.at[k].set(a)

    def forwards(i: Array, z: PyTree) -> PyTree:
        k = jnp.mod(pairs.kept + i, rows)
        b = pairs.inverses[k] * dot(row(pairs.changes, k), z, dtype)
        return add_scaled(z, factors[k] - b, row(pairs.steps, k))

    start = (wide(grads), jnp.zeros_like(pairs.inverses))
    q, factors = jax.lax.fori_loop(0, rows, backwards, start)
    return scaled(
        jnp.asarray(-1.0, dtype), jax.lax.fori_loop(0, rows, forwards, scaled(pairs.scale, q))
    )


def _keep(pairs: History, s: PyTree, y: PyTree, forget: Array) -> History:
    """The pairs with one more, if it is curved enough, or none if they are to be forgotten."""
    dtype, rows = pairs.scale.dtype, pairs.inverses.shape[0]
    sy, yy = dot(s, y, dtype), dot(y, y, dtype)
    good = curved(sy, yy)
    k = jnp.mod(pairs.kept, rows)

    def put(tree: PyTree, new: PyTree) -> PyTree:
        def one(a: Array, b: Array) -> Array:
            # The row is chosen, not the whole history, so that it can be written in place.
            old = jax.lax.dynamic_index_in_dim(a, k, keepdims=False)
            return jax.lax.dynamic_update_index_in_dim(a, jnp.where(good, b, old), k, 0)

        return jax.tree.map(one, tree, new)

    inverse = jnp.where(good, 1 / jnp.where(good, sy, 1), pairs.inverses[k])
    scale = jnp.where(good, sy / jnp.where(good, yy, 1), pairs.scale)
    inverses = pairs.inverses.at[k].set(inverse)
    return History(
        put(pairs.steps, s),
        put(pairs.changes, y),
        jnp.where(forget, jnp.zeros_like(inverses), inverses),
        jnp.where(forget, 0, pairs.kept + good.astype(jnp.int32)),
        jnp.where(forget, jnp.ones_like(scale), scale),
    )
