"""What a minimizer is: an optimizer that may ask for more gradients than the one it is given.

    init(params)                                  -> state
    update(objective, value, grads, state, params) -> (updates, state)     updates are added

`objective(params) -> (value, grads)` is the value and the (hand-written) gradient on the present batch;
`value` and `grads` are those at `params`, so that they are not computed twice. Line searches, methods of
second order and sharpness-aware ones are minimizers; every optimizer can be taken for one.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from fnn.layer import Array, PyTree
from fnn.optimizers.minimizers.vectors import norm, scalar_dtype
from fnn.optimizers.optimizer import Optimizer, OptimizerInit, apply_updates, check_transform

Objective = Callable[[PyTree], tuple[Array, PyTree]]  # params -> (value, grads)


class Reached(NamedTuple):
    """What the last update found out; the field `reached` of every minimizer's state."""

    evaluations: Array  # (), int32: of the objective, made by all updates so far
    stuck: Array  # (), bool: no lower point was found, and none will be from here
    value: Array | None  # (), the objective at params + updates; None where it was not evaluated
    grads: PyTree | None  # like params, its gradient there; None where it was not evaluated


class MinimizerUpdate(Protocol):
    """The step to add to `params`, and the next state."""

    def __call__(
        self, objective: Objective, value: Array, grads: PyTree, state: Any, params: PyTree, /
    ) -> tuple[PyTree, Any]: ...


class Minimizer(NamedTuple):
    """A pair of pure functions over the tree of the parameters; its states have a field `reached`."""

    init: OptimizerInit
    update: MinimizerUpdate


class Minimum(NamedTuple):
    """Where a minimization ended; scalars but for the trees."""

    params: PyTree
    value: Array  # the objective there
    gradient_norm: Array  # √Σ g² there
    steps: Array  # int32, the steps made
    evaluations: Array  # int32, of the objective, the first one included
    ending: Array  # int32, the index of the reason in ENDINGS
    state: PyTree  # the minimizer's, to go on from


ENDINGS = (
    "all steps are made",
    "the gradient's norm is at most the tolerance",
    "no lower point was found",
    "the value or the gradient is not finite",
)
_STEPS, _FLAT, _STUCK, _BROKEN = range(len(ENDINGS))


class State(NamedTuple):
    """The state of an optimizer that is taken for a minimizer."""

    reached: Reached
    optimizer: PyTree  # the optimizer's own


def as_minimizer(optimizer: Optimizer) -> Minimizer:
    """The optimizer, as a minimizer that asks for no more gradients.

    Raises:
      TypeError: it is no optimizer of one gradient a step.
    """
    check_transform(optimizer, "as_minimizer")

    def init(params: PyTree) -> State:
        return State(nowhere(), optimizer.init(params))

    def update(
        objective: Objective, value: Array, grads: PyTree, state: State, params: PyTree
    ) -> tuple[PyTree, State]:
        del objective, value  # the step depends on the one gradient alone
        updates, inner = optimizer.update(grads, state.optimizer, params)
        return updates, state._replace(optimizer=inner)

    return Minimizer(init, update)


def nowhere() -> Reached:
    """Before the first update, for a minimizer that does not evaluate where it goes."""
    return Reached(
        jnp.asarray(np.zeros((), np.int32)), jnp.asarray(np.zeros((), np.bool_)), None, None
    )


def somewhere(params: PyTree) -> Reached:
    """Before the first update, for a minimizer that does evaluate where it goes."""
    value = jnp.asarray(np.zeros((), scalar_dtype(params)))
    grads = jax.tree.map(lambda p: jnp.asarray(np.zeros(p.shape, p.dtype), p.dtype), params)
    return nowhere()._replace(value=value, grads=grads)


def minimize(
    minimizer: Minimizer | Optimizer,
    objective: Objective,
    params: PyTree,
    *,
    steps: int,
    tolerance: float = 0.0,
    state: PyTree | None = None,
) -> Minimum:
    """Make steps until the gradient is flat, as one compiled `lax.while_loop`.

    Where a minimizer has evaluated the objective at the point that it goes to, it is not evaluated there
    again. ``ENDINGS[result.ending]`` says why it ended. Every call compiles; but it is plain jax, and
    within `jit` or `vmap` of one's own it is part of that program.

    Args:
      minimizer: a `Minimizer`, or an `Optimizer`, which asks for one gradient a step.
      objective: ``objective(params) -> (value, grads)``, the same at every step.
      params: where to begin.
      steps: how many to make at most.
      tolerance: the norm of the gradient at which it ends.
      state: where to go on from, such as an earlier result's; None for a new one.

    Raises:
      ValueError: steps or tolerance is negative.
    """
    if steps < 0 or not tolerance >= 0:
        raise ValueError(f"expected steps and tolerance at least 0, got {steps} and {tolerance}")
    method = minimizer if isinstance(minimizer, Minimizer) else as_minimizer(minimizer)
    params = jax.tree.map(jnp.asarray, params)
    state = method.init(params) if state is None else state

    def run(params: PyTree, state: Any) -> Minimum:
        dtype = scalar_dtype(params)

        def evaluated(params: PyTree) -> tuple[Array, PyTree]:
            value, grads = _asked(objective, params)
            return value.astype(dtype), jax.tree.map(lambda g, p: g.astype(p.dtype), grads, params)

        def ending(value: Array, size: Array, stuck: Array) -> Array:
            broken = ~(jnp.isfinite(value) & jnp.isfinite(size))
            code = jnp.where(stuck, _STUCK, _STEPS)
            code = jnp.where(size <= tolerance, _FLAT, code)
            return jnp.where(broken, _BROKEN, code).astype(jnp.int32)

        def unfinished(carry: tuple[Minimum, PyTree]) -> Array:
            return (carry[0].ending == _STEPS) & (carry[0].steps < steps)

        def body(carry: tuple[Minimum, PyTree]) -> tuple[Minimum, PyTree]:
            now, grads = carry
            updates, state = method.update(objective, now.value, grads, now.state, now.params)
            params = apply_updates(now.params, updates)
            asked = state.reached.evaluations - now.state.reached.evaluations
            if state.reached.value is None:
                (value, grads), asked = evaluated(params), asked + 1
            else:
                value, grads = state.reached.value, state.reached.grads
            size = norm(grads, dtype)
            why = ending(value, size, state.reached.stuck)
            evaluations = now.evaluations + asked
            after = Minimum(params, value, size, now.steps + 1, evaluations, why, state)
            return after, grads

        value, grads = evaluated(params)
        size, none = norm(grads, dtype), jnp.zeros((), jnp.int32)
        why = ending(value, size, jnp.zeros((), bool))
        begin = Minimum(params, value, size, none, none + 1, why, state)
        return jax.lax.while_loop(unfinished, body, (begin, grads))[0]

    return jax.jit(run)(params, state)


def _asked(objective: Objective, params: PyTree) -> tuple[Array, PyTree]:
    """The objective's answer, if it is one.

    Raises:
      TypeError: it is not (value, grads), with one number for the value.
    """
    answer = objective(params)
    if not (isinstance(answer, tuple) and len(answer) == 2 and hasattr(answer[0], "astype")):
        raise TypeError(
            "expected objective(params) -> (value, grads), with one number for the value; of "
            "fnn.value_and_grad's ((value, auxiliary), grads), leave the auxiliary out"
        )
    return answer
