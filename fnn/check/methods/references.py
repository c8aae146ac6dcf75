"""The forward pass as a function of what is differentiated, for references by autodiff.

References run outside of `jit`, for the reason that `reverse` gives: call these functions so.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fnn.check.trial import Gradient, Subject, real_leaves, split
from fnn.layer import PyTree
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


def auto_gradients(subject: Subject, dys: Sequence[PyTree]) -> list[list[np.ndarray[Any, Any]]]:
    """For each dy the gradients of the real leaves, by one `jax.vjp`."""
    real = [leaf for _, leaf in real_leaves(subject)]
    _, pull_back = jax.vjp(output_of(subject), real)
    return [[np.asarray(leaf) for leaf in pull_back(jax.device_put(dy))[0]] for dy in dys]
