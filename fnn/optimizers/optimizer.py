"""What an optimizer is: a pure state transition from gradients to updates.

    init(params)                  -> state
    update(grads, state, params)  -> (updates, state)      updates are added: params + updates

A transform is the same thing, and a named optimizer is a composition of transforms. What enters a
transform is called `grads`, what leaves it `updates`.
"""

from collections.abc import Mapping
from typing import NamedTuple, Protocol, cast

import jax

from fnn.arguments import not_taken
from fnn.dtypes import computing_dtype
from fnn.layer import Array, PyTree


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


def check_optimizer(given: object, where: str) -> None:
    """Refuse what is no optimizer, such as the function that makes one.

    Raises:
      TypeError: it has no `init` and `update`.
    """
    if not (hasattr(given, "init") and hasattr(given, "update")):
        made = f"; call it: {getattr(given, '__name__', 'it')}(…)" if callable(given) else ""
        raise TypeError(f"{where}: expected an optimizer, got {given!r}{made}")


def check_transform(given: object, where: str) -> None:
    """Refuse what is no optimizer of one gradient a step.

    Raises:
      TypeError: it has no `init` and `update`, or an `update` of other arguments than (grads, state,
        params), such as a minimizer's or that of loss scaling.
    """
    check_optimizer(given, where)
    taken = not_taken(cast(Optimizer, given).update, ("grads", "state", "params"))
    if taken is not None:
        raise TypeError(
            f"{where}: expected an optimizer whose update takes (grads, state, params), got a "
            f"{type(given).__name__}, whose update takes ({', '.join(taken.parameters)}); what asks for "
            "more than a gradient, such as train.loss_scaling(…) or a minimizer, goes around all "
            "others: train.loss_scaling(optimizers.compose(…))"
        )


def check_parts(state: object, parts: Mapping[str, object]) -> None:
    """Refuse a state that is not a dictionary by the names of these parts.

    Raises:
      ValueError: it is another optimizer's.
    """
    if not isinstance(state, dict) or state.keys() != parts.keys():
        got = sorted(state) if isinstance(state, dict) else type(state).__name__
        raise ValueError(
            f"expected this optimizer's state, of {sorted(parts)}, got one of {got}; "
            "make it with this optimizer's init"
        )


def compose(**transforms: Optimizer) -> Optimizer:
    """The transforms one after another; the state is a dictionary by their names.

    Raises:
      TypeError: one of them is no optimizer of one gradient a step.
    Raises (by `update`):
      ValueError: the state is another optimizer's.
    """
    for name, transform in transforms.items():
        check_transform(transform, f"compose, {name}")

    def init(params: PyTree) -> PyTree:
        return {name: transform.init(params) for name, transform in transforms.items()}

    def update(grads: PyTree, state: PyTree, params: PyTree) -> tuple[PyTree, PyTree]:
        check_parts(state, transforms)
        new_state = {}
        for name, transform in transforms.items():
            grads, new_state[name] = transform.update(grads, state[name], params)
        return grads, new_state

    return Optimizer(init, update)


def apply_updates(params: PyTree, updates: PyTree) -> PyTree:
    """``params + updates``: added in the wider dtype of the two, then each in its own."""

    def add(p: Array, u: Array) -> Array:
        wide = computing_dtype(p, u)
        return (p.astype(wide) + u.astype(wide)).astype(p.dtype)

    return jax.tree.map(add, params, updates)
