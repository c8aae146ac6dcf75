"""Directions in the space of the parameters that are worth a look.

Networks with relu or norms do the same at other scales of their weights, so that a step of one length is
large for some layers and nothing for others. A random direction therefore gets, for each filter (the
weights that make one output), the norm of that filter of θ; biases and the parameters of norms stay. The
path of a run lies more in a plane than a random one would: its two principal directions span it. Source:
Li, Xu, Taylor, Studer, Goldstein (2018).
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from fnn.diagnostics.curvature_products import flattened
from fnn.dtypes import accumulation_dtype
from fnn.layer import Array, PyTree
from fnn.random import name_hash
from fnn.tables import table
from fnn.tree import paths

_HIGHEST = jax.lax.Precision.HIGHEST


class PathPlane(NamedTuple):
    """The plane through the end of a run in which its path lies most.

    Attributes:
      origin: the last snapshot.
      directions: orthonormal; the second is 0 if the path is straight.
      coordinates: (snapshots, 2), where each lies; the last at (0, 0).
      explained: (2,), the share of the squared distances from the end that each direction has.
    """

    origin: PyTree
    directions: tuple[PyTree, PyTree]
    coordinates: Array
    explained: Array

    def axes(self, points: int = 15, margin: float = 0.25) -> tuple[Array, Array]:
        """(a, b) for `loss_on_plane`, `points` each: what the path covers, and a share of it beyond."""

        def axis(along: Array) -> Array:
            low, high = along.min(), along.max()
            room = margin * (high - low)
            return jnp.linspace(low - room, high + room, points)

        return axis(self.coordinates[:, 0]), axis(self.coordinates[:, 1])

    def __str__(self) -> str:
        lines = [
            [str(i), f"{float(a):.4g}", f"{float(b):.4g}"]
            for i, (a, b) in enumerate(self.coordinates)
        ]
        shares = " and ".join(f"{float(share):.1%}" for share in self.explained)
        return "\n".join([*table(["snapshot", "a", "b"], lines), f"explained: {shares}"])


def filter_normalized(key: Array, params: PyTree, *, stacked: Sequence[str] = ()) -> PyTree:
    """A random direction, in which each filter of `params` has the norm that it has in `params`.

    A filter is what has one index in the last axis, that of outputs. Parameters with a single axis or
    none (biases, scales of norms) are not moved: there the direction is 0.

    Args:
      key: for the draw.
      params: the network's.
      stacked: paths of parameters that a `repeat` has stacked, such as ``blocks``: their first axis is
        that of the blocks, and each block has filters of its own.

    Raises:
      ValueError: there is no parameter at a path of `stacked`.
    """
    named = paths(params)
    unknown = [place for place in stacked if not any(_below(path, place) for path, _ in named)]
    if unknown:
        raise ValueError(
            f"filter_normalized: expected paths of {[path for path, _ in named]}, got {unknown}"
        )

    def drawn(path: str, p: Array) -> Array:
        front = int(any(_below(path, place) for place in stacked))
        if p.ndim - front < 2:
            return jnp.zeros_like(p)
        wide = accumulation_dtype(p.dtype)
        d = jax.random.normal(jax.random.fold_in(key, name_hash(path)), p.shape, wide)
        axes = tuple(range(front, p.ndim - 1))

        def norm(a: Array) -> Array:
            return jnp.sqrt(jnp.square(a).sum(axis=axes, keepdims=True))

        return (d * (norm(p.astype(wide)) / norm(d))).astype(p.dtype)

    structure = jax.tree.structure(params)
    return jax.tree.unflatten(structure, [drawn(path, leaf) for path, leaf in named])


def along_and_across(
    key: Array, first: PyTree, last: PyTree, *, stacked: Sequence[str] = ()
) -> tuple[PyTree, PyTree]:
    """(last - first, a random direction orthogonal to it and as long), for slices through `last`.

    At a distance of -1 along is `first`. The random direction is `filter_normalized` for `last`, less
    its part along. Where the two are one point, both directions are 0.

    Raises:
      ValueError: the two are not of one form, or what `filter_normalized` refuses.
    """
    check_like(last, first)
    end, start = flattened(last), flattened(first)
    along = end.vector - start.vector
    length = _norm(along)
    unit = along / jnp.where(length > 0, length, 1)
    across = flattened(filter_normalized(key, last, stacked=stacked)).vector
    across, size = _orthogonal(across, unit)
    across = across * (length / jnp.where(size > 0, size, 1))
    return end.restored(along), end.restored(across)


def path_plane(snapshots: Sequence[PyTree]) -> PathPlane:
    """The two principal directions of a run's parameters, seen from the last of them.

    With M the differences θ_i - θ_last, one a row: the first two right singular vectors of M. They are
    found by M Mᵀ, which is as small as the snapshots are few.

    Raises:
      ValueError: fewer than three snapshots, or they are not of one form.
    """
    if len(snapshots) < 3:
        raise ValueError(f"path_plane: expected three snapshots or more, got {len(snapshots)}")
    for each in snapshots[:-1]:
        check_like(snapshots[-1], each)
    end = flattened(snapshots[-1])
    rows = jnp.stack([flattened(each).vector - end.vector for each in snapshots])
    products = jnp.matmul(rows, rows.T, precision=_HIGHEST)
    values, mixing = jnp.linalg.eigh(products)
    first, second = (jnp.matmul(mixing[:, -i], rows, precision=_HIGHEST) for i in (1, 2))
    size = _norm(first)
    first = first / jnp.where(size > 0, size, 1)
    second, size = _orthogonal(second, first)
    # Of a straight path, the rest is rounding, and no direction.
    straight = size <= 64 * jnp.finfo(rows.dtype).eps * jnp.sqrt(jnp.maximum(values[-1], 0))
    second = jnp.where(straight, 0, second / jnp.where(straight, 1, size))
    coordinates = jnp.matmul(rows, jnp.stack([first, second]).T, precision=_HIGHEST)
    total = jnp.square(rows).sum()
    explained = jnp.square(coordinates).sum(axis=0) / jnp.where(total > 0, total, 1)
    directions = (end.restored(first), end.restored(second))
    return PathPlane(snapshots[-1], directions, coordinates, explained)


def check_like(params: PyTree, other: PyTree) -> None:
    """Refuse a tree of another form than the parameters.

    Raises:
      ValueError: other leaves, or a leaf of another shape.
    """
    ours, theirs = ({path: jnp.shape(leaf) for path, leaf in paths(t)} for t in (params, other))
    trees: list[Any] = [jax.tree.structure(tree) for tree in (params, other)]
    if ours != theirs or trees[0] != trees[1]:
        path = next((p for p in (*ours, *theirs) if ours.get(p) != theirs.get(p)), "its tree")
        raise ValueError(
            f"expected a direction or parameters like {path} {ours.get(path)}, got {theirs.get(path)}"
        )


def _below(path: str, place: str) -> bool:
    return path == place or path.startswith(f"{place}/")


def _norm(vector: Array) -> Array:
    return jnp.sqrt(jnp.vdot(vector, vector, precision=_HIGHEST))


def _orthogonal(vector: Array, unit: Array) -> tuple[Array, Array]:
    """The part of the vector that is orthogonal to `unit`, and its norm."""
    for _ in range(2):  # what rounding leaves is gone the second time
        vector = vector - unit * jnp.vdot(unit, vector, precision=_HIGHEST)
    return vector, _norm(vector)
