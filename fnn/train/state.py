"""What the next training step needs, and nothing else: one tree, one checkpoint."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from fnn.batch import check_input
from fnn.layer import Array, Layer, PyTree
from fnn.optimizers.optimizer import check_optimizer
from fnn.random import child_key
from fnn.train.precision import AnyOptimizer


class TrainState(NamedTuple):
    """The whole state of a training run.

    Attributes:
      params: the network's.
      state: the network's: running statistics.
      optimizer: the optimizer's state, or the minimizer's.
      key: one key; the draws of step t come from fold_in(key, t).
      step: (), int32: the steps made.
    """

    params: PyTree
    state: PyTree
    optimizer: PyTree
    key: Array
    step: Array


def init(net: Layer, optimizer: AnyOptimizer, key: Array, x: PyTree) -> TrainState:
    """The state before the first step, for inputs shaped like the batch `x`.

    All of it is memory of its own: the first step, to which it is donated, takes neither the caller's
    key nor an array that an initializer or an optimizer was made with.

    Raises:
      TypeError: the optimizer is none, such as a function that has not been called; or `x` holds
        what is no array, such as a shape.
    """
    check_optimizer(optimizer, "train.init")
    check_input(x, "train.init")
    params, state = net.init(child_key(key, "init"), x)
    return copy(
        TrainState(params, state, optimizer.init(params), key, jnp.asarray(np.zeros((), np.int32)))
    )


def check_single(given: object, where: str) -> None:
    """Refuse what is not the train state of one run.

    Raises:
      TypeError: it is no train state.
      ValueError: it is a population's.
    """
    if not isinstance(given, TrainState):
        raise TypeError(
            f"{where}: expected a train state, train.init(net, optimizer, key, x) or that of a report, "
            f"got {type(given).__name__}"
        )
    if jnp.ndim(given.step):
        raise ValueError(
            f"{where}: expected the train state of one run, got that of a population of "
            f"{jnp.shape(given.step)[0]} members; train them with train.population.fit, or one of "
            "them alone: train.population.member(members, i)"
        )


def step_key(train_state: TrainState) -> Array:
    """The key that the next step draws with: a function of the run's key and the step count."""
    return jax.random.fold_in(train_state.key, train_state.step)


def copy(train_state: TrainState) -> TrainState:
    """A copy in memory of its own, which outlives the donation of the original to a step."""

    def fresh(leaf: Any) -> Array:
        if isinstance(leaf, jax.core.Tracer):
            return leaf  # what comes out of a compiled call has memory of its own
        if isinstance(leaf, jax.Array) and not leaf.is_fully_addressable:
            return leaf.copy()  # of which a process has a part only, and no transfer does it
        if _is_spread_key(leaf):  # of which, as a key, device_put makes no copy (jax 0.10)
            words = jax.device_put(jax.random.key_data(leaf), may_alias=False)
            return jax.random.wrap_key_data(words, impl=jax.random.key_impl(leaf))
        # A transfer in place, because jnp.copy would compile a program for every shape.
        owned = leaf if isinstance(leaf, jax.Array) else np.array(leaf)
        return jax.device_put(owned, may_alias=False)

    return jax.tree.map(fresh, train_state)


def _is_spread_key(leaf: Any) -> bool:
    """Whether this is a typed key that lies on several devices."""
    return (
        isinstance(leaf, jax.Array)
        and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
        and len(leaf.sharding.device_set) > 1
    )
