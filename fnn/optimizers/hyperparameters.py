"""Hyperparameters: leaves of an optimizer's state, or functions of its step count.

A number becomes a leaf under `hyper` in the state of the transform that it belongs to: it is traced,
saved with a checkpoint, swept by `vmap`, and changed without a second compilation. A schedule takes its
place as a pure function of the `steps` made so far, 0 at the first update.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fnn.layer import Array, PyTree

Schedule = Callable[[Array], Array]
Hyper = dict[str, Array]
Given = float | Array | Schedule  # what a hyperparameter may be given as


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


def check_hyper(**given: Given) -> None:
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


def initial_hyper(**given: Given) -> Hyper:
    """The hyperparameters given as numbers, as leaves for a state."""
    return {
        name: jnp.asarray(value, dtype=float)
        for name, value in given.items()
        if not callable(value)
    }


def current_hyper(hyper: Mapping[str, Array], steps: Any, **given: Given) -> Hyper:
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


def first_step_if_scheduled(*given: Given) -> Array | None:
    """The step count before the first step, where one of the hyperparameters depends on it."""
    return first_step() if any(callable(value) for value in given) else None


def next_step(steps: Array | None) -> Array | None:
    """The count after one more step."""
    return None if steps is None else steps + 1


def started(b: Array, t: Array) -> Array:
    """``1 - bᵗ``: how much of a decaying mean that began at 0 has been filled after t steps.

    As -expm1(t · log b), because at b = 0.999 and t = 2 the subtraction would lose five of float32's
    seven digits.
    """
    return -jnp.expm1(t * jnp.log(b))
