"""NAdam: Adam with Nesterov's look ahead."""

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from fnn.layer import Array, PyTree
from fnn.optimizers.descent import descend
from fnn.optimizers.hyperparameters import (
    Given,
    Hyper,
    check_hyper,
    current_hyper,
    first_step,
    initial_hyper,
    next_step,
    started,
)
from fnn.optimizers.leafwise import State, check_kind, leafwise, zeros
from fnn.optimizers.optimizer import Optimizer, compose


def nadam(
    rate: Given = 2e-3,
    b1: Given = 0.9,
    b2: Given = 0.999,
    eps: Given = 1e-8,
    momentum_decay: Given | None = 4e-3,
) -> Optimizer:
    """Adam with Nesterov's look ahead: the next step's share of the mean is taken in this one.

        t ← t + 1        a ← b1 · (1 - ½ · 0.96^(t · momentum_decay))        a' ← the same at t + 1
        m ← b1 · m + (1 - b1) · g        v ← b2 · v + (1 - b2) · g²        π ← π · a
        u ← a' · m / (1 - π · a') + (1 - a) · g / (1 - π)
        params ← params - rate · u / (√(v / (1 - b2ᵗ)) + eps)

    Hyperparameters: rate, b1, b2, eps, momentum_decay. State: m and v for every parameter, at least
    float32, and the product π. The momentum a rises from b1 / 2 to b1. PyTorch has the default, Keras
    `momentum_decay` = 1. None stands for a = b1 throughout, as in optax; π is then b1ᵗ, and no leaf.

    Source: Dozat (2016).

    Raises:
      ValueError: a hyperparameter is a number out of range.
    """
    if momentum_decay is None:
        moments = _with_constant_momentum(b1, b2, eps)
    else:
        moments = _with_rising_momentum(b1, b2, eps, momentum_decay)
    return compose(moments=moments, rate=descend(rate))


def _rule(h: Any, g: Array, p: Array, m: Array, v: Array) -> tuple[Array, Array, Array]:
    del p  # the step depends on the gradients alone
    m = h.b1 * m + h.mean_share * g
    v = h.b2 * v + h.square_share * jnp.square(g)
    return (h.ahead * m + h.fresh * g) / (jnp.sqrt(v * h.square_scale) + h.eps), m, v


def _with_constant_momentum(b1: Given, b2: Given, eps: Given) -> Optimizer:
    def prepare(h: Any, t: Array) -> dict[str, Array]:
        return {
            "mean_share": 1 - h.b1,
            "square_share": 1 - h.b2,
            "ahead": h.b1 / started(h.b1, t + 1),
            "fresh": (1 - h.b1) / started(h.b1, t),
            "square_scale": 1 / started(h.b2, t),
        }

    return leafwise(
        _rule,
        hyper={"b1": b1, "b2": b2, "eps": eps},
        slots={"mean": zeros, "square": zeros},
        prepare=prepare,
    )


class NadamState(NamedTuple):
    """Two moments, and how much of the first ones a rising momentum still remembers."""

    steps: Array  # (), int32, made so far
    hyper: Hyper  # the hyperparameters that were given as numbers
    product: Array  # (), float: of the momenta so far
    slots: dict[str, PyTree]  # "mean" and "square", each like params, at least float32


def _with_rising_momentum(b1: Given, b2: Given, eps: Given, momentum_decay: Given) -> Optimizer:
    given = {"b1": b1, "b2": b2, "eps": eps, "momentum_decay": momentum_decay}
    check_hyper(**given)
    # The lift over the tree; the scalars are handed to it as the state of each step.
    names = ("b1", "b2", "eps", "mean_share", "square_share", "ahead", "fresh", "square_scale")
    lifted = leafwise(
        _rule, hyper=dict.fromkeys(names, 0.0), slots={"mean": zeros, "square": zeros}
    )

    def init(params: PyTree) -> NadamState:
        product = jnp.asarray(np.ones(()), dtype=float)
        return NadamState(first_step(), initial_hyper(**given), product, lifted.init(params).slots)

    def update(grads: PyTree, state: NadamState, params: PyTree) -> tuple[PyTree, NadamState]:
        check_kind(state, NadamState)
        h = current_hyper(state.hyper, state.steps, **given)
        steps = next_step(state.steps)
        t = steps.astype(jnp.result_type(float))
        now, after = (
            h["b1"] * (1 - 0.5 * 0.96 ** (time * h["momentum_decay"])) for time in (t, t + 1)
        )
        product = state.product * now
        scalars = {
            "b1": h["b1"],
            "b2": h["b2"],
            "eps": h["eps"],
            "mean_share": 1 - h["b1"],
            "square_share": 1 - h["b2"],
            "ahead": after / (1 - product * after),
            "fresh": (1 - now) / (1 - product),
            "square_scale": 1 / started(h["b2"], t),
        }
        updates, new = lifted.update(grads, State(None, scalars, state.slots), params)
        return updates, NadamState(steps, state.hyper, product, new.slots)

    return Optimizer(init, update)
