"""What is taken out of gradients, and what is added to them: centralization and annealed noise."""

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
    first_step,
    initial_hyper,
    next_step,
)
from fnn.optimizers.leafwise import check_alike, check_kind, check_real, leafwise
from fnn.optimizers.norms import unit_axes
from fnn.optimizers.optimizer import Optimizer
from fnn.random import name_hash, normal
from fnn.tree import paths


def centralize(axis: int | Sequence[int] | None = None) -> Optimizer:
    """Each unit's gradient without its mean: ``u_i = g_i - mean(g_i)``, so that Σ p_i is kept.

    A unit is a column of a linear layer's weights or an output channel of a kernel: the mean is over
    all axes but the last, or over `axis`. Vectors and scalars (biases, scales) pass as they are.
    Source: Yong, Huang, Hua, Zhang (2020).
    """

    def rule(h: Any, g: Array, p: Array) -> tuple[Array]:
        del h, p  # the step depends on the gradient alone
        if g.ndim < 2 or not g.size:
            return (g,)
        return (g - g.mean(axis=unit_axes(g, axis), keepdims=True),)

    return leafwise(rule, hyper={})


class NoiseState(NamedTuple):
    """What annealed noise remembers."""

    steps: Array  # (), int32: made so far
    hyper: Hyper  # variance and power, those that no schedule drives
    key: Array  # the draws of step t come from fold_in(key, t)


def add_noise(key: Array, variance: Given = 0.3, power: Given = 0.55) -> Optimizer:
    """Gaussian noise that dies away: ``u = g + σ · ε``, ε from N(0, 1), ``σ² = variance / (1 + t)ᵖᵒʷᵉʳ``.

    t counts the steps made, from 0. A parameter's draws depend on the key, the step and its path, so
    that one more layer leaves those of the others as they were; the key is a part of the state, and a
    run that is resumed draws what it would have drawn. Hyperparameters: variance, power.
    Source: Neelakantan et al. (2015).

    Raises:
      ValueError: variance or power is a number that is negative or not finite.
    """
    given = {"variance": variance, "power": power}
    check_hyper(**given)

    def init(params: PyTree) -> NoiseState:
        check_real(params, "parameters")
        # A state may be donated; the caller's key is not ours to give away.
        own = jax.device_put(key, may_alias=False)
        return NoiseState(first_step(), initial_hyper(**given), own)

    def update(grads: PyTree, state: NoiseState, params: PyTree) -> tuple[PyTree, NoiseState]:
        check_alike(grads, params, "gradients")
        check_real(grads, "gradients")
        check_kind(state, NoiseState)
        now = current_hyper(state.hyper, state.steps, **given)
        t = 1 + state.steps.astype(now["power"].dtype)
        deviation = jnp.sqrt(now["variance"] * t ** -now["power"])
        step_key = jax.random.fold_in(state.key, state.steps)
        noisy = []
        for path, g in paths(grads):
            dtype = accumulation_dtype(g.dtype)
            draw = normal(jax.random.fold_in(step_key, name_hash(path)), g.shape, dtype)
            noisy.append(g.astype(dtype) + deviation.astype(dtype) * draw)
        updates = jax.tree.unflatten(jax.tree.structure(grads), noisy)
        return updates, state._replace(steps=next_step(state.steps))

    return Optimizer(init, update)
