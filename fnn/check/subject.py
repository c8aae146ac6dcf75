"""What is checked: a forward and a backward pass at one point, and the leaves that are differentiated."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from fnn.check.precision import is_real
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
