"""What an optimizer is: a pure state transition from gradients to updates.

    init(params)                  -> state
    update(grads, state, params)  -> (updates, state)      updates are added: params + updates

A transform is the same thing, and a named optimizer is a composition of transforms. What enters a
transform is called `grads`, what leaves it `updates`. Hyperparameters are leaves of the state, under
`hyper`: they are traced, saved with a checkpoint, swept by `vmap`, and changed without a second
compilation. One that is driven by a schedule is a function of the state's `steps` instead.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from fnn.dtypes import accumulation_dtype
from fnn.layer import Array, PyTree

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
    """The transforms one after another; the state is a dictionary by their names.

    Raises (by `update`):
      ValueError: the state is another optimizer's.
    """

    def init(params: PyTree) -> PyTree:
        return {name: transform.init(params) for name, transform in transforms.items()}

    def update(grads: PyTree, state: PyTree, params: PyTree) -> tuple[PyTree, PyTree]:
        if not isinstance(state, dict) or state.keys() != transforms.keys():
            got = sorted(state) if isinstance(state, dict) else type(state).__name__
            raise ValueError(
                f"expected this optimizer's state, of {sorted(transforms)}, got one of {got}; "
                "make it with this optimizer's init"
            )
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
      ValueError: a value is out of range.
    """
    check_hyper(**values)
    present: set[str] = set()

    def has_hyper(part: Any) -> bool:
        return isinstance(part, tuple) and "hyper" in getattr(part, "_fields", ())

    def replace(part: Any) -> Any:
        if not has_hyper(part):
            return part
        present.update(part.hyper)
        hyper = {
            name: jnp.full_like(leaf, values[name]) if name in values else leaf
            for name, leaf in part.hyper.items()
        }
        return part._replace(hyper=hyper)

    # The transforms' states are the leaves: a parameter's moment may have any name.
    replaced = jax.tree.map(replace, state, is_leaf=has_hyper)
    missing = sorted(set(values) - present)
    if missing:
        raise KeyError(f"expected hyperparameters of this state, {sorted(present)}, got {missing}")
    return replaced


# What a hyperparameter may be: the least value, and the one that it must stay below.
_RANGES = {
    "rate": (0.0, math.inf),
    "eps": (0.0, math.inf),
    "decay": (0.0, 1.0),
    "b1": (0.0, 1.0),
    "b2": (0.0, 1.0),
}


def check_hyper(**given: float | Array | Schedule) -> None:
    """Refuse what no step could be made with, where the values can be looked at.

    Raises:
      ValueError: a rate or eps that is negative or not finite; a decay, b1 or b2 outside of [0, 1).
    """
    for name, value in given.items():
        if name not in _RANGES or callable(value) or isinstance(value, jax.core.Tracer):
            continue
        low, high = _RANGES[name]
        with (
            jax.ensure_compile_time_eval()
        ):  # an array may be a constant of a function being traced
            values = np.asarray(value, np.float64)
        if not ((values >= low) & (values < high)).all():
            wanted = (
                "finite and at least 0"
                if high == math.inf
                else f"at least {low:g} and below {high:g}"
            )
            raise ValueError(f"expected {name} {wanted}, got {value}")


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
    """All hyperparameters after `steps` steps: those of the state, and the schedules' values.

    Raises:
      ValueError: the state was made with numbers where a schedule is given now, or the other way around.
    """
    scheduled = {name for name, value in given.items() if callable(value)}
    if hyper.keys() != given.keys() - scheduled or (scheduled and steps is None):
        raise ValueError(
            "expected this optimizer's state, with the hyperparameters "
            f"{sorted(given.keys() - scheduled)}, got one with {sorted(hyper)}; make it with this "
            "optimizer's init"
        )
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
