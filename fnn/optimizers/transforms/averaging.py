"""Averages of the parameters along the way, and lookahead.

An average is a transform placed last in a composition: it sees the parameters that the update leads to,
and passes the update on unchanged.

    optimizer = compose(adam=adam(), average=exponential_average(0.999))
    …
    net.predict(averaged(train_state.optimizer, train_state.params), state, x)
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from fnn.dtypes import accumulation_dtype
from fnn.layer import Array, PyTree
from fnn.optimizers.hyperparameters import (
    Given,
    Hyper,
    check_hyper,
    current_hyper,
    first_step,
    first_step_if_scheduled,
    initial_hyper,
    next_step,
)
from fnn.optimizers.leafwise import check_alike, check_kind, check_real, owned, zeros
from fnn.optimizers.optimizer import Optimizer, apply_updates, check_transform
from fnn.tree import paths


class AverageState(NamedTuple):
    """An average of the parameters."""

    steps: Array  # (), int32: made so far
    hyper: Hyper  # decay, if the average has one that no schedule drives
    weight: Array  # (), at least float32: what all weights in the mean sum up to
    mean: PyTree  # like params, at least float32: weight times the average


def exponential_average(decay: Given = 0.999, *, debias: bool = False) -> Optimizer:
    """An average that forgets: ``mean ← decay · mean + (1 - decay) · p``, p the new parameters.

    It begins at the initial parameters, which then count ``decayᵗ``; with `debias` it begins at 0 and is
    divided by 1 - decayᵗ, so that they do not count at all. Hyperparameter: decay.
    Sources: Ruppert (1988), Polyak, Juditsky (1992) for averages; Tarvainen, Valpola (2017) for this one.

    Raises:
      ValueError: the decay is a number outside of [0, 1).
    """
    check_hyper(decay=decay)

    def shares(state: AverageState) -> tuple[Array, Array]:
        b = current_hyper(state.hyper, state.steps, decay=decay)["decay"]
        return b, 1 - b

    return _average(shares, initial=not debias, hyper={"decay": decay})


def uniform_average(start: int = 0) -> Optimizer:
    """The mean of the parameters after each step from `start` on: of those after steps start + 1 to t.

    Until then, it is the parameters themselves. Sources: Ruppert (1988), Polyak, Juditsky (1992).

    Raises:
      ValueError: a start before step 0.
    """
    if start < 0:
        raise ValueError(f"expected to start the average at step 0 or later, got {start}")

    def shares(state: AverageState) -> tuple[Array, Array]:
        count = jnp.maximum(next_step(state.steps) - start, 1).astype(state.weight.dtype)
        return 1 - 1 / count, 1 / count

    return _average(shares, initial=True, hyper={})


def averaged(state: PyTree, params: PyTree) -> PyTree:
    """The average that an optimizer's state holds, in the parameters' dtypes.

    Parameters that no average covers (one that is masked, or of one group) come as they are, and so do
    all before the first step of an average with `debias`.

    Raises:
      ValueError: the state holds no average, or two of one parameter.
    """

    def is_average(part: Any) -> bool:
        return isinstance(part, AverageState)

    found = [part for part in jax.tree.leaves(state, is_leaf=is_average) if is_average(part)]
    if not found:
        raise ValueError("expected an optimizer's state with an average in it, got none")
    covered: dict[str, tuple[Array, Array]] = {}
    for average in found:
        for path, mean in paths(average.mean):
            if path in covered:
                raise ValueError(f"expected one average of each parameter, got two of {path!r}")
            covered[path] = mean, average.weight.astype(mean.dtype)

    def value(path: str, p: Array) -> Array:
        if path not in covered:
            return p
        mean, weight = covered[path]
        divisor = jnp.where(weight == 0, jnp.ones_like(weight), weight)
        return jnp.where(weight == 0, p, (mean / divisor).astype(p.dtype))

    values = [value(path, p) for path, p in paths(params)]
    return jax.tree.unflatten(jax.tree.structure(params), values)


def _average(
    shares: Callable[[AverageState], tuple[Array, Array]], *, initial: bool, hyper: dict[str, Given]
) -> Optimizer:
    """``mean ← a · mean + b · p`` with (a, b) = shares(state), from the initial parameters or from 0."""

    def init(params: PyTree) -> AverageState:
        check_real(params, "parameters")
        weight = jnp.asarray(np.asarray(initial, np.float64))
        mean = jax.tree.map(owned if initial else zeros, params)
        return AverageState(first_step(), initial_hyper(**hyper), weight, mean)

    def update(updates: PyTree, state: AverageState, params: PyTree) -> tuple[PyTree, AverageState]:
        check_alike(updates, params, "updates")
        check_real(updates, "updates")
        check_kind(state, AverageState)
        a, b = shares(state)

        def mix(mean: Array, p: Array) -> Array:
            return a.astype(mean.dtype) * mean + b.astype(mean.dtype) * p.astype(mean.dtype)

        mean = jax.tree.map(mix, state.mean, apply_updates(params, updates))
        weight = a * state.weight + b
        return jax.tree.map(_widened, updates), AverageState(
            next_step(state.steps), state.hyper, weight.astype(state.weight.dtype), mean
        )

    return Optimizer(init, update)


def _widened(u: Array) -> Array:
    return u.astype(accumulation_dtype(u.dtype))


class LookaheadState(NamedTuple):
    """What lookahead remembers besides the optimizer's own state."""

    steps: Array | None  # (), int32: made so far; None where nothing depends on it
    since: Array  # (), int32: steps since the slow parameters last moved
    hyper: Hyper  # slow_rate, unless a schedule drives it
    slow: PyTree  # like params, at least float32
    inner: PyTree  # the optimizer's state


def lookahead(optimizer: Optimizer, steps: int = 5, slow_rate: Given = 0.5) -> Optimizer:
    """Slow parameters that go a part of the way that the optimizer goes in `steps` steps.

    After each `steps` steps of the optimizer: ``slow ← slow + slow_rate · (params - slow)``,
    ``params ← slow``. The optimizer's own state goes on. Hyperparameter: slow_rate, besides those of
    the optimizer. Source: Zhang, Lucas, Hinton, Ba (2019).

    Raises:
      TypeError: what looks ahead is no optimizer of one gradient a step.
      ValueError: less than one step, or a slow rate that is negative or not finite.
    """
    check_transform(optimizer, "lookahead")
    if steps < 1:
        raise ValueError(f"expected at least one step between looks, got {steps}")
    check_hyper(slow_rate=slow_rate)

    def init(params: PyTree) -> LookaheadState:
        check_real(params, "parameters")
        slow = jax.tree.map(owned, params)
        made = first_step_if_scheduled(slow_rate)
        hyper = initial_hyper(slow_rate=slow_rate)
        return LookaheadState(made, first_step(), hyper, slow, optimizer.init(params))

    def update(
        grads: PyTree, state: LookaheadState, params: PyTree
    ) -> tuple[PyTree, LookaheadState]:
        check_kind(state, LookaheadState)
        updates, inner = optimizer.update(grads, state.inner, params)
        now = current_hyper(state.hyper, state.steps, slow_rate=slow_rate)["slow_rate"]
        count = (state.since + 1) % steps
        look = count == 0

        def advance(slow: Array, p: Array) -> Array:
            rate = now.astype(slow.dtype)
            return jnp.where(look, slow + rate * (p.astype(slow.dtype) - slow), slow)

        slow = jax.tree.map(advance, state.slow, apply_updates(params, updates))
        updates = jax.tree.map(
            lambda s, p, u: jnp.where(look, s - p.astype(s.dtype), u.astype(s.dtype)),
            slow,
            params,
            updates,
        )
        return updates, LookaheadState(next_step(state.steps), count, state.hyper, slow, inner)

    return Optimizer(init, update)
