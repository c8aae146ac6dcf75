"""The forward pass as a function of what is differentiated, for references by autodiff.

References run outside of `jit`, for the reason that `reverse` gives: call these functions so, or
through `traced_once`.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fnn.check.precision import exact
from fnn.check.remembered import traced_once
from fnn.check.subject import Gradient, Subject, Vector, point, real_leaves, split
from fnn.layer import BackwardFunction, ForwardFunction, Key, PyTree
from fnn.tree import paths

Leaves = Sequence[Any]


def output_of(subject: Subject) -> Callable[[Leaves], PyTree]:
    """``f(real leaves) -> y``, with everything else as the subject has it."""
    _, merge = split(subject.params, subject.x)

    def output(real: Leaves) -> PyTree:
        params, x = merge(real)
        return subject.forward(params, subject.state, x, subject.key)[0]

    return output


def gradient_of(subject: Subject, dy: PyTree) -> Callable[[Leaves], list[Any]]:
    """``f(real leaves) -> gradients`` by hand: forward, then backward; None for one that is missing."""
    _, merge = split(subject.params, subject.x)
    names = [(path, leaf.shape) for path, leaf in real_leaves(subject)]

    def gradient(real: Leaves) -> list[Any]:
        params, x = merge(real)
        _, _, cache = subject.forward(params, subject.state, x, subject.key)
        found = dict(paths(Gradient(*subject.backward(params, cache, dy))))
        return [
            found[path] if path in found and jnp.shape(found[path]) == shape else None
            for path, shape in names
        ]

    return gradient


def auto_gradient_of(subject: Subject, dy: PyTree) -> Callable[[Leaves], list[Any]]:
    """``f(real leaves) -> gradients`` by `jax.vjp` of the forward pass."""
    output = output_of(subject)

    def gradient(real: Leaves) -> list[Any]:
        return jax.vjp(output, list(real))[1](dy)[0]

    return gradient


def auto_gradients(subject: Subject, dys: Sequence[PyTree]) -> list[list[Vector]]:
    """For each dy the gradients of the real leaves, by one `jax.vjp`."""
    pull_back = pull_back_of(subject)
    return [pull_back(dy) for dy in dys]


def pull_back_of(subject: Subject) -> Callable[[PyTree], list[Vector]]:
    """dy -> the gradients of the real leaves by `jax.vjp`, which runs forward once."""
    with exact():
        kept = _vjp(subject.forward, *point(subject))

    def gradients(dy: PyTree) -> list[Vector]:
        with exact():
            return [np.asarray(leaf) for leaf in _pulled(kept, jax.tree.map(jnp.asarray, dy))]

    return gradients


def at(
    forward: ForwardFunction,
    params: PyTree,
    state: PyTree,
    x: PyTree,
    key: Key,
    backward: BackwardFunction | None = None,
) -> Subject:
    """A subject of a pass that is traced."""
    return Subject("", forward, backward or _none, params, state, x, key)


def _none(params: PyTree, cache: PyTree, dy: PyTree) -> tuple[PyTree, PyTree]:
    raise TypeError("expected a subject with a backward pass, got one that has forward alone")


@traced_once(1)
def _vjp(
    forward: ForwardFunction, params: PyTree, state: PyTree, x: PyTree, key: Key
) -> Callable[[PyTree], Any]:
    subject = at(forward, params, state, x, key)
    real = [leaf for _, leaf in real_leaves(subject)]
    # What `jax.vjp` returns is a tree of arrays, too: its residuals.
    return jax.vjp(output_of(subject), real)[1]


@traced_once(0)
def _pulled(pull_back: Callable[[PyTree], Any], dy: PyTree) -> list[Any]:
    return list(pull_back(dy)[0])
