"""The cotangents and directions that a check is made with: seeded, and drawn by NumPy.

A normal draw meets every output at once. Ones are what a sum or a mean sends back, and lie in the null
space of every softmax and normalization. A basis vector is one row of the Jacobian, whose
error no other term can hide.
"""

from typing import Any, NamedTuple

import jax
import numpy as np

from fnn.layer import PyTree


class Probe(NamedTuple):
    """A cotangent dy = dL/dy and what it is called in a report."""

    name: str
    dy: PyTree


def draw(y: PyTree, seed: int, dy: PyTree | None = None) -> tuple[Probe, ...]:
    """A normal, a ones and a basis probe for outputs like `y`, and the given `dy` if there is one.

    The leaves are NumPy arrays in float64. The normal probe comes first.

    Raises:
      ValueError: `dy` is not of y's tree and shapes.
    """
    rng = np.random.default_rng(seed)
    normal = jax.tree.map(lambda leaf: rng.standard_normal(leaf.shape), y)
    ones = jax.tree.map(lambda leaf: np.ones(leaf.shape), y)
    probes = [Probe("normal", normal), Probe("ones", ones), Probe("basis", _basis(y, rng))]
    if dy is not None:
        if _shapes(dy) != _shapes(y):
            raise ValueError(f"expected dy of shapes {_shapes(y)}, got {_shapes(dy)}")
        probes.append(Probe("given", jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), dy)))
    return tuple(probes)


def direction(shape: tuple[int, ...], *seed: int) -> np.ndarray[Any, Any]:
    """A standard normal tangent for one leaf: another one for every sequence of seeds."""
    return np.random.default_rng(seed).standard_normal(shape)


def _basis(y: PyTree, rng: np.random.Generator) -> PyTree:
    """One at an element drawn among all of y's, zero elsewhere."""
    leaves, tree = jax.tree.flatten(y)
    total = sum(leaf.size for leaf in leaves)
    position = int(rng.integers(total)) if total else 0
    basis = []
    for leaf in leaves:
        vector = np.zeros(leaf.size)
        if 0 <= position < leaf.size:
            vector[position] = 1
        position -= leaf.size
        basis.append(vector.reshape(leaf.shape))
    return jax.tree.unflatten(tree, basis)


def _shapes(tree: PyTree) -> PyTree:
    return jax.tree.map(np.shape, tree)
