"""Hyperparameters: leaves of an optimizer's state, or functions of its step count.

A number becomes a leaf under `hyper` in the state of the transform that it belongs to: it is traced,
saved with a checkpoint, swept by `vmap`, and changed without a second compilation. A schedule takes its
place as a pure function of the `steps` made so far, 0 at the first update.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any, overload

import jax
import jax.numpy as jnp
import numpy as np

from fnn.layer import Array, PyTree
from fnn.tree import paths

Schedule = Callable[[Array], Array]
Hyper = dict[str, Array]
Given = float | Array | Schedule  # what a hyperparameter may be given as
_MOST = 2**31 - 1  # steps that an int32 counts


def hyperparameters(state: PyTree) -> dict[str, Array]:
    """The hyperparameters of an optimizer's state, by their paths, such as ``moments/hyper/b1``.

    Those that a schedule drives are no part of the state.
    """
    return {
        "/".join(filter(None, (path, "hyper", name))): leaf
        for path, part in _parts(state)
        for name, leaf in part.hyper.items()
    }


def with_hyperparameters(state: PyTree, **values: float | Array) -> PyTree:
    """The optimizer state with other hyperparameters; nothing is compiled anew.

    A name, as in ``rate=1e-4``, means it wherever the state has it; a path of `hyperparameters`, as in
    ``**{"head/*/rate/hyper/rate": 1e-5}``, means that one, and counts before a name.

    Raises:
      KeyError: the state has no such hyperparameter, or a schedule drives it.
      ValueError: a value is out of range, or no number; a schedule is for the optimizer to be made with.
    """
    for name, value in values.items():
        _check_range(name.rpartition("/")[2], value)
    known = hyperparameters(state)
    names = {path.rpartition("/")[2] for path in known}
    missing = sorted(values.keys() - known.keys() - names)
    if missing:
        raise KeyError(
            f"expected hyperparameters of this state, {sorted(names)}, or their paths, "
            f"{sorted(known)}, got {missing}; what a schedule drives is not in the state"
        )

    def changed(path: str, part: Any) -> Any:
        given = {}
        for name, leaf in part.hyper.items():
            own = "/".join(filter(None, (path, "hyper", name)))
            given[name] = leaf
            if own in values or name in values:
                value = values[own if own in values else name]
                if np.shape(value) not in ((), leaf.shape):
                    raise ValueError(
                        f"expected {name} to be one number, got shape {np.shape(value)}; map over "
                        "several with jax.vmap"
                    )
                given[name] = jnp.full_like(leaf, value)
        return part._replace(hyper=given)

    return _walk(state, changed)


def _has_hyper(part: Any) -> bool:
    return isinstance(part, tuple) and "hyper" in getattr(part, "_fields", ())


def _parts(state: PyTree) -> list[tuple[str, Any]]:
    """The states of single transforms within an optimizer's, with their paths."""
    found = []

    def note(path: str, part: Any) -> Any:
        found.append((path, part))
        return part

    _walk(state, note)
    return found


def _walk(state: PyTree, change: Callable[[str, Any], Any], above: str = "") -> PyTree:
    """The state with every transform's state changed, and those of the transforms inside of it.

    Slots are left alone: a parameter's moment may have any name.
    """

    def visit(path: str, part: Any) -> Any:
        if not _has_hyper(part):
            return part
        here = "/".join(filter(None, (above, path)))
        inside = {
            name: _walk(getattr(part, name), change, "/".join(filter(None, (here, name))))
            for name in part._fields
            if name not in ("hyper", "slots")
        }
        return change(here, part._replace(**inside))

    structure = jax.tree.structure(state, is_leaf=_has_hyper)
    named = paths(state, _has_hyper)
    return jax.tree.unflatten(structure, [visit(path, part) for path, part in named])


# What a hyperparameter may be: the least value, and the one that it must stay below.
_RANGES = {
    "rate": (0.0, math.inf),
    "eps": (0.0, math.inf),
    "decay": (0.0, 1.0),
    "b1": (0.0, 1.0),
    "b2": (0.0, 1.0),
    "eps_root": (0.0, math.inf),
    "momentum_decay": (0.0, math.inf),
    "trust": (0.0, math.inf),
    "threshold": (0.0, math.inf),
    "least_scale": (0.0, math.inf),
    "interpolation": (0.01, 1.0),
    "weight_power": (0.0, math.inf),
    "momentum": (0.0, 1.0),
    "initial": (0.0, math.inf),
    "shrink": (0.0, 1.0),
    "grow": (1.0, math.inf),
    "min_step": (0.0, math.inf),
    "max_step": (0.0, math.inf),
    "weight_decay": (0.0, math.inf),
    "scale": (0.0, math.inf),
    "limit": (0.0, math.inf),
    "variance": (0.0, math.inf),
    "power": (0.0, math.inf),
    "slow_rate": (0.0, math.inf),
    "damping": (0.0, math.inf),
    "radius": (0.0, math.inf),
    "c1": (0.0, 1.0),
    "c2": (0.0, 1.0),
    "l1": (0.0, math.inf),
    "l2": (0.0, math.inf),
}


def check_hyper(**given: Given) -> None:
    """Refuse what no step could be made with, where the values can be looked at.

    Raises:
      ValueError: more than one number; a rate or eps that is negative or not finite; a decay, b1 or b2
        outside of [0, 1).
    """
    for name, value in given.items():
        if callable(value):
            continue
        if np.shape(value) != ():
            raise ValueError(
                f"expected {name} to be one number, got shape {np.shape(value)}; "
                "map over several with jax.vmap"
            )
        _check_range(name, value)


def _check_range(name: str, value: Given) -> None:
    if isinstance(value, jax.core.Tracer):
        return
    if value is None or isinstance(value, str | bool) or callable(value):
        raise ValueError(f"expected {name} to be a number, got {value!r}")
    if name not in _RANGES:
        return
    low, high = _RANGES[name]
    values = _on_the_host(value, np.float64)
    if not ((values >= low) & (values < high)).all():
        wanted = (
            f"finite and at least {low:g}"
            if high == math.inf
            else f"at least {low:g} and below {high:g}"
        )
        raise ValueError(f"expected {name} {wanted}, got {value}")


def _on_the_host(value: Any, dtype: Any) -> np.ndarray:
    """A copy of a value that is known by now, perhaps as a constant of a function being traced."""
    with jax.ensure_compile_time_eval():
        return np.array(value, dtype)


def initial_hyper(**given: Given) -> Hyper:
    """The hyperparameters given as numbers, as leaves for a state.

    Each is memory of its own, so that a state may be donated whatever arrays it was made with.
    """

    def leaf(value: Any) -> Array:
        if isinstance(value, jax.core.Tracer):
            return jnp.asarray(value, dtype=float)
        dtype = jnp.result_type(float)
        return jnp.asarray(_on_the_host(value, dtype), dtype)

    return {name: leaf(value) for name, value in given.items() if not callable(value)}


def current_hyper(hyper: Mapping[str, Array], steps: Any, **given: Given) -> Hyper:
    """All hyperparameters after `steps` steps: those of the state, and the schedules' values.

    Raises:
      ValueError: the state was made with numbers where a schedule is given now, or the other way around;
        or a schedule does not give one number.
    """
    scheduled = {name for name, value in given.items() if callable(value)}
    if hyper.keys() != given.keys() - scheduled or (scheduled and steps is None):
        raise ValueError(
            "expected this optimizer's state, with the hyperparameters "
            f"{sorted(given.keys() - scheduled)}, got one with {sorted(hyper)}; make it with this "
            "optimizer's init"
        )
    return {
        name: _scheduled(name, value(steps)) if callable(value) else hyper[name]
        for name, value in given.items()
    }


def _scheduled(name: str, value: Any) -> Array:
    now = jnp.asarray(value, dtype=float)
    if now.shape != ():
        raise ValueError(
            f"expected the schedule of {name} to give one number for one count, got shape {now.shape}"
        )
    return now


def first_step() -> Array:
    """The number of steps made before the first one."""
    return jnp.asarray(np.zeros((), np.int32), np.int32)


def first_step_if_scheduled(*given: Given) -> Array | None:
    """The step count before the first step, where one of the hyperparameters depends on it."""
    return first_step() if any(callable(value) for value in given) else None


@overload
def next_step(steps: None) -> None: ...
@overload
def next_step(steps: Array) -> Array: ...
def next_step(steps: Array | None) -> Array | None:
    """The count after one more step; it stays at the last that an int32 has."""
    return None if steps is None else jnp.minimum(steps, _MOST - 1) + 1


def started(b: Array, t: Array) -> Array:
    """``1 - bᵗ``: how much of a decaying mean that began at 0 has been filled after t steps.

    As -expm1(t · log b), because at b = 0.999 and t = 2 the subtraction would lose five of float32's
    seven digits.
    """
    return -jnp.expm1(t * jnp.log(b))
