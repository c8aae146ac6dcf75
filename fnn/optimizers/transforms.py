"""The pieces that optimizers are composed of."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from fnn.layer import Array, PyTree
from fnn.optimizers.optimizer import (
    Hyper,
    Optimizer,
    Schedule,
    check_hyper,
    current_hyper,
    first_step,
    first_step_if_scheduled,
    initial_hyper,
    next_step,
    zeros_like,
)


class ScaleState(NamedTuple):
    """The rate if it is a number, or else the steps made, which the schedule asks for."""

    steps: Array | None  # (), int32, made so far; None without a schedule
    hyper: Hyper  # rate


class TraceState(NamedTuple):
    """A decaying sum of the gradients."""

    steps: Array | None  # (), int32, made so far; None without a schedule
    hyper: Hyper  # decay
    trace: PyTree  # as params, at least float32


class MomentState(NamedTuple):
    """Decaying means of the gradients and of their squares."""

    steps: Array  # (), int32, made so far
    hyper: Hyper  # b1, b2, eps
    mean: PyTree  # as params, at least float32
    square: PyTree  # as params, at least float32


def descend(rate: float | Array | Schedule) -> Optimizer:
    """Against the gradient: ``u = -rate · g``.

    Raises:
      ValueError: the rate is a number that is negative or not finite.
    """
    check_hyper(rate=rate)

    def init(params: PyTree) -> ScaleState:
        del params  # the rate is one for all
        return ScaleState(first_step_if_scheduled(rate), initial_hyper(rate=rate))

    def update(grads: PyTree, state: ScaleState, params: PyTree) -> tuple[PyTree, ScaleState]:
        del params  # the step depends on the gradient alone
        now = current_hyper(state.hyper, state.steps, rate=rate)
        updates = jax.tree.map(lambda g: -now["rate"].astype(g.dtype) * g, grads)
        return updates, ScaleState(next_step(state.steps), state.hyper)

    return Optimizer(init, update)


def trace(decay: float | Array | Schedule, *, nesterov: bool = False) -> Optimizer:
    """A decaying sum: ``m ← decay · m + g``, then ``u = m``, or ``u = g + decay · m`` with `nesterov`.

    Sources: Polyak (1964); Nesterov (1983), in the form of Sutskever et al. (2013).

    Raises:
      ValueError: the decay is a number outside of [0, 1).
    """
    check_hyper(decay=decay)

    def init(params: PyTree) -> TraceState:
        return TraceState(
            first_step_if_scheduled(decay), initial_hyper(decay=decay), zeros_like(params)
        )

    def update(grads: PyTree, state: TraceState, params: PyTree) -> tuple[PyTree, TraceState]:
        del params  # the step depends on the gradients alone
        now = current_hyper(state.hyper, state.steps, decay=decay)

        def accumulate(g: Array, m: Array) -> Array:
            return now["decay"].astype(m.dtype) * m + g.astype(m.dtype)

        sums = jax.tree.map(accumulate, grads, state.trace)
        updates = jax.tree.map(accumulate, grads, sums) if nesterov else sums
        return updates, TraceState(next_step(state.steps), state.hyper, sums)

    return Optimizer(init, update)


def scale_by_moments(
    b1: float | Array | Schedule, b2: float | Array | Schedule, eps: float | Array | Schedule
) -> Optimizer:
    """Adam's direction: the mean of the gradients over the root of the mean of their squares.

        m ← b1 · m + (1 - b1) · g        v ← b2 · v + (1 - b2) · g²        t ← t + 1
        u = (m / (1 - b1ᵗ)) / (√(v / (1 - b2ᵗ)) + eps)

    The powers are computed in the precision of the hyperparameters, at least float32: in bfloat16,
    1 - b2ᵗ would be 0. Source: Kingma, Ba (2015).

    Raises:
      ValueError: b1 or b2 is a number outside of [0, 1), or eps one that is negative or not finite.
    """
    check_hyper(b1=b1, b2=b2, eps=eps)

    def init(params: PyTree) -> MomentState:
        return MomentState(
            first_step(),
            initial_hyper(b1=b1, b2=b2, eps=eps),
            zeros_like(params),
            zeros_like(params),
        )

    def update(grads: PyTree, state: MomentState, params: PyTree) -> tuple[PyTree, MomentState]:
        del params  # the step depends on the gradients alone
        now = current_hyper(state.hyper, state.steps, b1=b1, b2=b2, eps=eps)
        steps = state.steps + 1
        t = steps.astype(now["b1"].dtype)
        # Reciprocals of scalars, so that no division by them is left for every parameter.
        mean_scale, square_scale = 1 / (1 - now["b1"] ** t), 1 / (1 - now["b2"] ** t)

        def blend(b: Array, old: Array, new: Array) -> Array:
            b = b.astype(old.dtype)
            return b * old + (1 - b) * new.astype(old.dtype)

        def direction(m: Array, v: Array) -> Array:
            root = jnp.sqrt(v * square_scale.astype(v.dtype))
            return m * mean_scale.astype(m.dtype) / (root + now["eps"].astype(v.dtype))

        mean = jax.tree.map(lambda g, m: blend(now["b1"], m, g), grads, state.mean)
        square = jax.tree.map(
            lambda g, v: blend(now["b2"], v, jnp.square(g.astype(v.dtype))),
            grads,
            state.square,
        )
        updates = jax.tree.map(direction, mean, square)
        return updates, MomentState(steps, state.hyper, mean, square)

    return Optimizer(init, update)
