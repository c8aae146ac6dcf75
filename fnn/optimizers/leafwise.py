"""The lift from a rule for one parameter array to a transform of the whole tree.

Most optimizers are a formula that treats every parameter alike. Such a rule is written once, over plain
arrays, and says what it remembers by naming its *slots* (the field's word for an optimizer's arrays that
are shaped by a parameter: a mean, a sum of squares).
"""

from collections.abc import Callable, Mapping
from types import SimpleNamespace
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
from fnn.optimizers.optimizer import Optimizer
from fnn.tree import paths


class State(NamedTuple):
    """What a leafwise transform remembers."""

    steps: Array | None  # (), int32, made so far; None where nothing depends on it
    hyper: Hyper  # the hyperparameters that were given as numbers
    slots: dict[str, PyTree]  # by name; each like params, at least float32


# (h, g, p, *slots) -> (u, *slots): one parameter's update and next slots, all of `g`'s dtype.
Rule = Callable[..., tuple[Array, ...]]
Slot = Callable[[Array], Array]  # (parameter) -> the slot before the first step


def zeros(p: Array) -> Array:
    """A slot of zeros, at least float32."""
    return full(p, 0.0)


def full(p: Array, value: float | Array) -> Array:
    """A slot that holds `value` everywhere, at least float32."""
    return filled(p, p.shape, value)


def filled(p: Array, shape: tuple[int, ...], value: float | Array) -> Array:
    """A slot of another shape than its parameter's that holds `value` everywhere, at least float32."""
    dtype = accumulation_dtype(p.dtype)
    if isinstance(value, jax.core.Tracer) or isinstance(p, jax.core.Tracer):
        return jnp.full(shape, value, dtype)  # of a NumPy array, the program would hold all numbers
    # jnp.full would compile a program a shape, and so would jnp.asarray that is not told the dtype.
    return jnp.asarray(np.full(shape, value, dtype), dtype)


def owned(p: Array) -> Array:
    """A copy of a parameter, at least float32, in memory of its own: both may be donated.

    jnp.array with copy=True would compile a program a shape.
    """
    return jax.device_put(jnp.asarray(p, accumulation_dtype(p.dtype)), may_alias=False)


def leafwise(
    rule: Rule,
    *,
    hyper: Mapping[str, Given],
    slots: Mapping[str, Slot] | None = None,
    prepare: Callable[[Any, Array], Mapping[str, Array]] | None = None,
) -> Optimizer:
    """The transform that applies `rule` to every leaf.

    At every step, ``rule(h, g, p, *slots) -> (u, *slots)`` is called for each leaf, with arrays in the
    parameter's dtype or in float32, whichever is wider. `h` has the hyperparameters as attributes, as
    scalars of that dtype. What depends on them alone, such as the correction of a bias, belongs into
    ``prepare(h, t) -> {name: scalar}``: it runs once a step, in the hyperparameters' own precision, with
    t the number of this step, counted from 1; its results are attributes of `h` for the rule.

    Raises:
      ValueError: a hyperparameter is a number out of range.
    Raises (by `update`):
      ValueError: gradients, parameters and state differ in structure or shape; it names the path. Or
        the state is another optimizer's.
      TypeError: a gradient is not of a real floating dtype.
    """
    makers = dict(slots or {})
    check_hyper(**hyper)

    def init(params: PyTree) -> State:
        check_real(params, "parameters")
        steps = first_step() if prepare else first_step_if_scheduled(*hyper.values())
        made = {name: jax.tree.map(make, params) for name, make in makers.items()}
        return State(steps, initial_hyper(**hyper), made)

    def update(grads: PyTree, state: State, params: PyTree) -> tuple[PyTree, State]:
        check_alike(grads, params, "gradients")
        check_real(grads, "gradients")
        check_kind(state, State)
        now = current_hyper(state.hyper, state.steps, **hyper)
        steps = next_step(state.steps)
        if prepare is not None and steps is not None:
            t = steps.astype(jnp.result_type(float))
            now = {**now, **prepare(SimpleNamespace(**now), t)}
        leaves, structure = jax.tree.flatten(params)
        gradients = jax.tree.leaves(grads)
        memory = [_slot(state, name, params, structure) for name in makers]
        scalars = {dtype: SimpleNamespace(**_cast(now, dtype)) for dtype in _dtypes(leaves)}
        results: list[tuple[Array, ...]] = []
        for p, g, *old in zip(leaves, gradients, *memory, strict=True):
            dtype = accumulation_dtype(p.dtype)
            made = rule(scalars[dtype], g.astype(dtype), p.astype(dtype), *old)
            if [a.shape for a in made] != [a.shape for a in (p, *old)]:
                raise ValueError(
                    f"expected a state for parameters of shape {p.shape} at "
                    f"{paths(params)[len(results)][0]!r}, got slots of {[a.shape for a in old]}, which "
                    f"lead to {[a.shape for a in made]}; make it with init(params)"
                )
            results.append(made)
        updates, *new = zip(*results, strict=True) if results else [()] * (1 + len(makers))
        return jax.tree.unflatten(structure, updates), State(
            steps,
            state.hyper,
            {
                name: jax.tree.unflatten(structure, tree)
                for name, tree in zip(makers, new, strict=True)
            },
        )

    return Optimizer(init, update)


def _slot(state: State, name: str, params: PyTree, structure: Any) -> list[Array]:
    """The leaves of a slot; their shapes are the rule's matter.

    Raises:
      ValueError: it is of other parameters; the first path is named.
    """
    leaves, found = jax.tree.flatten(state.slots[name])
    if found != structure:
        got, expected = (dict(paths(tree)).keys() for tree in (state.slots[name], params))
        differing = [path for path in [*expected, *got] if (path in got) != (path in expected)]
        raise ValueError(
            f"expected a state for these parameters, got one with {name} of others: only one of them "
            f"has {differing[:1]}; make it with init(params)"
        )
    return leaves


def check_alike(tree: PyTree, params: PyTree, what: str) -> None:
    """Refuse a tree that is not made like the parameters.

    Raises:
      ValueError: it has other paths or shapes; the first one is named.
    """
    structure: Any = jax.tree.structure(tree)
    if structure == jax.tree.structure(params) and all(
        one.shape == other.shape
        for one, other in zip(jax.tree.leaves(tree), jax.tree.leaves(params), strict=True)
    ):
        return  # the paths are made for messages alone, and take longer than many a rule to trace
    got, expected = dict(paths(tree)), dict(paths(params))
    for path in [*expected, *got]:
        if path not in got or path not in expected:
            where = "no" if path not in got else "one more"
            raise ValueError(f"expected {what} of the parameters' paths, got {where} leaf {path!r}")
        if got[path].shape != expected[path].shape:
            raise ValueError(
                f"expected {what} of the parameters' shapes, {expected[path].shape} at {path!r}, "
                f"got {got[path].shape}"
            )
    given, wanted = str(jax.tree.structure(tree)), str(jax.tree.structure(params))
    if given != wanted:
        raise ValueError(f"expected {what} of the parameters' structure, {wanted}, got {given}")


def check_kind(state: Any, kind: type) -> None:
    """Refuse a state that the `init` of another optimizer made.

    Raises:
      ValueError: it is of another type.
    """
    if not isinstance(state, kind):
        raise ValueError(
            f"expected this optimizer's state, of type {kind.__name__}, got one of type "
            f"{type(state).__name__}; make it with this optimizer's init"
        )


def check_real(tree: PyTree, what: str) -> None:
    """Refuse what has no direction to move in.

    Raises:
      TypeError: a leaf is no array, or not of a real floating dtype.
    """
    leaves = jax.tree.leaves(tree)
    if all(hasattr(leaf, "dtype") and jnp.issubdtype(leaf.dtype, jnp.floating) for leaf in leaves):
        return
    for path, leaf in paths(tree):
        if not hasattr(leaf, "dtype"):
            raise TypeError(f"expected {what} to be arrays, got {leaf!r} at {path!r}")
        if not jnp.issubdtype(leaf.dtype, jnp.floating):
            raise TypeError(
                f"expected {what} of a real floating dtype, got {leaf.dtype} at {path!r}"
            )


def _dtypes(leaves: list[Array]) -> set[Any]:
    return {accumulation_dtype(leaf.dtype) for leaf in leaves}


def _cast(now: Mapping[str, Array], dtype: Any) -> dict[str, Array]:
    return {name: value.astype(dtype) for name, value in now.items()}
