"""What a check looks at: a layer at one point, its forward run, and its gradients by hand.

Everything that a method compares is computed once, in a `Trial`. Forward and backward are compiled
apart, so that the cache has to cross `jit` as it does in a train step.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np

from fnn.check.guard import guarded
from fnn.check.precision import dtype_of, exact, is_real, widen
from fnn.check.probes import Probe, draw
from fnn.layer import BackwardFunction, ForwardFunction, Key, PyTree
from fnn.tree import paths

Vector = np.ndarray[Any, Any]


class Subject(NamedTuple):
    """A forward and a backward pass, and the point at which they are compared.

    A layer is one as it stands; a loss and a whole network are brought into the same form.
    """

    name: str
    forward: ForwardFunction
    backward: BackwardFunction
    params: PyTree
    state: PyTree
    x: PyTree
    key: Key


class Gradient(NamedTuple):
    """What one backward pass gave, under the names of the two trees."""

    params: PyTree
    x: PyTree


class Trial(NamedTuple):
    """A subject in float64, run forward once and backward once for every probe."""

    subject: Subject
    y: PyTree
    cache: PyTree
    probes: tuple[Probe, ...]
    hand: tuple[Gradient, ...]  # one a probe
    seed: int


def attempt(subject: Subject, *, seed: int = 0, dy: PyTree | None = None) -> Trial:
    """Run the subject in float64 on seeded probes, and on the cotangent `dy` if there is one.

    What was given in a narrower dtype is made smaller by a part in 2^30 besides: a float64 that is a
    float32, too, would pass unharmed through a cast to it, and so would the fault of casting.

    Raises:
      TypeError: an output is not of a floating dtype, so that it has no cotangent.
    """
    with exact():
        subject = guarded(subject)
        params, x = jax.tree.map(_off_the_grid, (subject.params, subject.x))
        subject = subject._replace(params=params, state=widen(subject.state), x=x)
        y, cache = run_forward(subject.forward, *point(subject))
        for path, leaf in paths(y):
            if not is_real(leaf):
                raise TypeError(
                    f"{subject.name}: expected floating outputs, got {leaf.dtype} at 'y/{path}'; "
                    "a layer with integer outputs has no gradient to check"
                )
        probes = draw(y, seed, dy)
        hand = tuple(
            Gradient(*run_backward(subject.backward, params, cache, probe.dy)) for probe in probes
        )
    return Trial(subject, y, cache, probes, hand, seed)


def _off_the_grid(leaf: Any) -> jax.Array:
    """A real leaf in float64 and between the numbers of any narrower dtype; zeros and ties stay such."""
    wide = widen(leaf)
    return wide if not is_real(wide) or dtype_of(leaf) == np.float64 else wide * (1 - 2.0**-30)


def point(subject: Subject) -> tuple[PyTree, PyTree, PyTree, Key]:
    """(params, state, x, key): the arguments of `forward`."""
    return subject.params, subject.state, subject.x, subject.key


def real_leaves(subject: Subject) -> list[tuple[str, jax.Array]]:
    """(path, leaf) of all that is differentiated, such as ``params/w`` and ``x``."""
    leaves = paths(Gradient(subject.params, subject.x))
    return [(path, leaf) for path, leaf in leaves if is_real(leaf)]


def hand_leaves(subject: Subject, hand: Gradient) -> list[Vector | None]:
    """The hand-written gradient of each of `real_leaves`; None where it is missing or misshapen."""
    found = dict(paths(hand))
    return [
        np.asarray(found[path], np.float64)
        if path in found and np.shape(found[path]) == leaf.shape
        else None
        for path, leaf in real_leaves(subject)
    ]


def as_vector(tree: PyTree) -> Vector:
    """All elements of a tree of arrays, one after another, in NumPy's float64."""
    leaves = [np.ravel(np.asarray(leaf, np.float64)) for leaf in jax.tree.leaves(tree)]
    return np.concatenate(leaves) if leaves else np.zeros(0)


def from_vector(vector: Vector, like: PyTree) -> PyTree:
    """The tree of `like`'s shapes whose elements are `vector`'s: the inverse of `as_vector`."""
    leaves, tree = jax.tree.flatten(like)
    ends = np.cumsum([leaf.size for leaf in leaves])[:-1]
    pieces = np.split(vector, ends)
    return jax.tree.unflatten(
        tree, [p.reshape(leaf.shape) for p, leaf in zip(pieces, leaves, strict=True)]
    )


def with_real_leaves(subject: Subject, leaves: Sequence[Any]) -> Subject:
    """The subject at another point: `leaves` in place of its `real_leaves`."""
    _, merge = split(subject.params, subject.x)
    params, x = merge(leaves)
    return subject._replace(params=params, x=x)


def split(
    params: PyTree, x: PyTree
) -> tuple[list[jax.Array], Callable[[Sequence[Any]], tuple[PyTree, PyTree]]]:
    """The real leaves of (params, x), and the way back, which puts the other leaves between them."""
    leaves, tree = jax.tree.flatten((params, x))

    def merge(real: Sequence[Any]) -> tuple[PyTree, PyTree]:
        following = iter(real)
        return jax.tree.unflatten(
            tree, [next(following) if is_real(leaf) else leaf for leaf in leaves]
        )

    return [leaf for leaf in leaves if is_real(leaf)], merge


# Compiled once a layer and shape: further seeds and steps cost only their run.
@partial(jax.jit, static_argnums=0)
def run_forward(
    forward: ForwardFunction, params: PyTree, state: PyTree, x: PyTree, key: Key
) -> tuple[PyTree, PyTree]:
    """The training pass: (y, cache)."""
    y, _, cache = forward(params, state, x, key)
    return y, cache


@partial(jax.jit, static_argnums=0)
def run_backward(
    backward: BackwardFunction, params: PyTree, cache: PyTree, dy: PyTree
) -> tuple[PyTree, PyTree]:
    """The hand-written pass: (dparams, dx)."""
    return backward(params, cache, dy)
