"""What an optimizer is: a pure state transition from gradients to updates.

    init(params)                  -> state
    update(grads, state, params)  -> (updates, state)      updates are added: params + updates

A transform is the same thing, and a named optimizer is a composition of transforms. What enters a
transform is called `grads`, what leaves it `updates`. Hyperparameters are leaves of the state, under
`hyper`: they are traced, saved with a checkpoint, swept by `vmap`, and changed without a second
compilation. One that is driven by a schedule is a function of the state's `steps` instead.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from fnn.dtypes import accumulation_dtype
from fnn.layer import Array, PyTree
from fnn.tree import paths

Schedule = Callable[[Array], Array]
Hyper = dict[str, Array]


class OptimizerInit(Protocol):
    """The state before the first step."""

    def __call__(self, params: PyTree, /) -> PyTree: ...


class OptimizerUpdate(Protocol):
    """The step to add to `params`, and the next state."""

    def __call__(
        self, grads: PyTree, state: PyTree, params: PyTree, /
    ) -> tuple[PyTree, PyTree]: ...


class Optimizer(NamedTuple):
    """A pair of pure functions over the tree of the parameters."""

    init: OptimizerInit
    update: OptimizerUpdate


def compose(**transforms: Optimizer) -> Optimizer:
    """The transforms one after another; the state is a dictionary by their names."""

    def init(params: PyTree) -> PyTree:
        return {name: transform.init(params) for name, transform in transforms.items()}

    def update(grads: PyTree, state: PyTree, params: PyTree) -> tuple[PyTree, PyTree]:
        new_state = {}
        for name, transform in transforms.items():
            grads, new_state[name] = transform.update(grads, state[name], params)
        return grads, new_state

    return Optimizer(init, update)


def apply_updates(params: PyTree, updates: PyTree) -> PyTree:
    """``params + updates``, each parameter in its own dtype."""
    return jax.tree.map(lambda p, u: p + u.astype(p.dtype), params, updates)


def with_hyperparameters(state: PyTree, **values: float) -> PyTree:
    """The optimizer state with other hyperparameters, such as ``rate=1e-4``; nothing is compiled anew.

    Raises:
      KeyError: the state has no such hyperparameter, or a schedule drives it.
    """
    found: set[str] = set()

    def replace(path: str, leaf: Array) -> Array:
        parent, _, name = path.rpartition("/")
        if name in values and (parent == "hyper" or parent.endswith("/hyper")):
            found.add(name)
            return jnp.full_like(leaf, values[name])
        return leaf

    leaves = [replace(path, leaf) for path, leaf in paths(state)]
    missing = sorted(set(values) - found)
    if missing:
        present = sorted({path for path, _ in paths(state) if "hyper/" in path})
        raise KeyError(f"expected hyperparameters of this state, {present}, got {missing}")
    return jax.tree.unflatten(jax.tree.structure(state), leaves)


def initial_hyper(**given: float | Array | Schedule) -> Hyper:
    """The hyperparameters given as numbers, as leaves for a state."""
    return {
        name: jnp.asarray(value, dtype=float)
        for name, value in given.items()
        if not callable(value)
    }


def current_hyper(
    hyper: Mapping[str, Array], steps: Any, **given: float | Array | Schedule
) -> Hyper:
    """All hyperparameters after `steps` steps: those of the state, and the schedules' values."""
    return {
        name: jnp.asarray(value(steps), dtype=float) if callable(value) else hyper[name]
        for name, value in given.items()
    }


def first_step() -> Array:
    """The number of steps made before the first one."""
    return jnp.asarray(np.zeros((), np.int32))


def first_step_if_scheduled(*given: float | Array | Schedule) -> Array | None:
    """The step count before the first step, where one of the hyperparameters depends on it."""
    return first_step() if any(callable(value) for value in given) else None


def next_step(steps: Array | None) -> Array | None:
    """The count after one more step."""
    return None if steps is None else steps + 1


def zeros_like(params: PyTree) -> PyTree:
    """Zeros of the parameters' shapes, at least float32: what moments start from."""

    def leaf(p: Any) -> Array:
        # Made by NumPy: jnp.zeros would compile a program for every shape.
        return jnp.asarray(np.zeros(p.shape, accumulation_dtype(p.dtype)))

    return jax.tree.map(leaf, params)
