"""Gradient clipping: by value, by norm, by the norm of the whole tree, and by that of the weights.

Norms are those of `fnn.optimizers.norms`: a gradient that is not finite comes out as NaN, all of what its
norm is taken over, and not as a short step.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from fnn.dtypes import accumulation_dtype
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
from fnn.optimizers.leafwise import check_alike, check_kind, check_real, leafwise
from fnn.optimizers.norms import norm, shrink_to, unit_norms
from fnn.optimizers.optimizer import Optimizer


def clip_by_value(limit: Given) -> Optimizer:
    """Every element into [-limit, limit]: ``u = max(-limit, min(g, limit))``.

    An infinity becomes the limit; NaN stays. Hyperparameter: limit. Source: Mikolov (2012).

    Raises:
      ValueError: the limit is a number that is negative or not finite.
    """

    def rule(h: Any, g: Array, p: Array) -> tuple[Array]:
        del p  # the step depends on the gradient alone
        return (jnp.clip(g, -h.limit, h.limit),)

    return leafwise(rule, hyper={"limit": limit})


def clip_by_norm(limit: Given) -> Optimizer:
    """Each parameter's gradient down to the norm `limit`: ``u = min(1, limit / ‖g‖) · g``.

    Hyperparameter: limit. Source: Pascanu, Mikolov, Bengio (2013), here for each parameter array.

    Raises:
      ValueError: the limit is a number that is negative or not finite.
    """

    def rule(h: Any, g: Array, p: Array) -> tuple[Array]:
        del p  # the step depends on the gradient alone
        return (shrink_to(h.limit, g, unit_norms(g, range(g.ndim))),)

    return leafwise(rule, hyper={"limit": limit})


def clip_adaptively(
    limit: Given, eps: Given = 1e-3, *, axis: int | Sequence[int] | None = None
) -> Optimizer:
    """Each unit's gradient down to `limit` times the norm of its weights.

    ``u_i = min(1, limit · max(‖p_i‖, eps) / ‖g_i‖) · g_i`` for each unit i: a column of a linear
    layer's weights, an output channel of a kernel, a whole bias vector; `axis` says otherwise (see
    `fnn.optimizers.norms.unit_norms`). Hyperparameters: limit, eps, the norm that weights count for at
    least. Source: Brock, De, Smith, Simonyan (2021).

    Raises:
      ValueError: limit or eps is a number that is negative or not finite.
    """

    def rule(h: Any, g: Array, p: Array) -> tuple[Array]:
        m, r = unit_norms(p, axis)
        return (shrink_to(h.limit * jnp.maximum(m * r, h.eps), g, unit_norms(g, axis)),)

    return leafwise(rule, hyper={"limit": limit, "eps": eps})


class ClipState(NamedTuple):
    """What clipping by the norm of the whole tree remembers."""

    steps: Array | None  # (), int32, made so far; None where nothing depends on it
    hyper: Hyper  # limit, unless a schedule drives it


def clip_by_global_norm(limit: Given) -> Optimizer:
    """All gradients down to the norm `limit` of all together: ``u = min(1, limit / ‖grads‖) · g``.

    Hyperparameter: limit. Source: Pascanu, Mikolov, Bengio (2013).

    Raises:
      ValueError: the limit is a number that is negative or not finite.
    """
    check_hyper(limit=limit)

    def init(params: PyTree) -> ClipState:
        check_real(params, "parameters")
        return ClipState(first_step_if_scheduled(limit), initial_hyper(limit=limit))

    def update(grads: PyTree, state: ClipState, params: PyTree) -> tuple[PyTree, ClipState]:
        check_alike(grads, params, "gradients")
        check_real(grads, "gradients")
        check_kind(state, ClipState)
        of = norm(jax.tree.leaves(grads))
        now = current_hyper(state.hyper, state.steps, limit=limit)

        def shrink(g: Array) -> Array:
            dtype = accumulation_dtype(g.dtype)
            m, r = of
            limit = now["limit"].astype(dtype)
            return shrink_to(limit, g.astype(dtype), (m.astype(dtype), r.astype(dtype)))

        return jax.tree.map(shrink, grads), ClipState(next_step(state.steps), state.hyper)

    return Optimizer(init, update)
