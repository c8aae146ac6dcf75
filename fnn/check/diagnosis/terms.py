"""A dictionary of what a gradient may be made of: dy, reduced and weighted by what the pass sees.

field    dy in the leaf's shape: itself, spread over an axis that the layer sums, summed to a
         parameter's shape, or multiplied with a matrix; or 1, where dy is 1
term     a · field        or        a · Σ over an axis of (b · field)
a, b     1, an array of x, y, params, state and cache, or a product of two
"""

from collections.abc import Iterator
from itertools import combinations_with_replacement
from typing import NamedTuple

import numpy as np

from fnn.check.diagnosis.evidence import Array, Leaf

_MOST_ATOMS = 8
_LARGEST = 400_000  # elements of an array of a leaf's or y's shape; above, no products are formed


class Term(NamedTuple):
    """A candidate in two factors, of which the product is formed when it is asked for."""

    name: str
    outer: Array  # (…), the leaf's shape
    inner: Array  # (probes, …), or of size 1 along the axes that were summed
    degree: int  # factors besides dy, and sums
    length: int = 1  # of its sum, if it is one
    axes: tuple[int, ...] = ()  # of that sum

    @property
    def value(self) -> Array:
        """(probes, …)."""
        return self.outer * self.inner

    def sample(self, where: tuple[Array, ...]) -> Array:
        """The elements of `value` at these indices."""
        shape = (self.inner.shape[0], *self.outer.shape)
        return self.outer[where[1:]] * np.broadcast_to(self.inner, shape)[where]


class Factor(NamedTuple):
    """1, an array that the pass sees, or a product of two: broadcast to a leaf's shape."""

    name: str
    value: Array
    degree: int


def factors(leaf: Leaf, shape: tuple[int, ...]) -> list[Factor]:
    """All that can be broadcast to `shape`, without those that are 0 or proportional to another."""
    found = [Factor("", np.ones(shape), 0)]
    for name, atom in leaf.evidence.atoms.items():
        for label, value in _spread(name, atom, shape):
            if len(found) <= _MOST_ATOMS and _is_new(value, found):
                found.append(Factor(label, value, 1))
    if found[0].value.size <= _LARGEST // len(leaf.hand):
        for a, b in combinations_with_replacement(found[1:], 2):
            value = a.value * b.value
            if _is_new(value, found):
                name = f"{a.name}²" if a is b else f"{a.name}·{b.name}"
                found.append(Factor(name, value, 2))
    return found


def terms(leaf: Leaf, outer: list[Factor]) -> list[Term]:
    """The dictionary for a leaf and its factors, the simplest first."""
    return sorted(_terms(leaf, outer), key=lambda term: term.degree)


def _terms(leaf: Leaf, outer: list[Factor]) -> Iterator[Term]:
    for field in _fields(leaf):
        for a in outer:
            yield field._replace(
                name=_product(a.name, field.name), outer=a.value, degree=field.degree + a.degree
            )
        if field.length > 1:
            continue
        for axes in _reductions(leaf.shape):
            moved = tuple(axis + 1 for axis in axes)
            length = int(np.prod([leaf.shape[axis] for axis in axes]))
            which = "" if len(axes) == len(leaf.shape) else f", axis {axes[0]}"
            for b in outer:
                reduced = (b.value * field.inner).sum(axis=moved, keepdims=True)
                inner = f"sum({_product(b.name, field.name)}{which})"
                for a in outer:
                    degree = field.degree + a.degree + b.degree + 1
                    name = _product(a.name, inner)
                    yield Term(name, a.value, reduced, degree, length, axes)


def _fields(leaf: Leaf) -> Iterator[Term]:
    """dy brought to the leaf's shape in every way that fits; 1 where only the probe of ones is left."""
    one = np.ones(leaf.shape)
    if len(leaf.hand) == 1:
        yield Term("", one, np.ones(leaf.hand.shape), 0)
        return
    for which, dy in enumerate(leaf.dys):
        name = "dy" if len(leaf.dys) == 1 else f"dy/{which}"
        shape = dy.shape[1:]
        if shape == leaf.shape:
            yield Term(name, one, dy, 0)
        elif len(shape) < len(leaf.shape):
            for axis in range(len(leaf.shape)):
                if shape == leaf.shape[:axis] + leaf.shape[axis + 1 :]:
                    spread = np.broadcast_to(np.expand_dims(dy, axis + 1), leaf.hand.shape)
                    yield Term(name, one, spread, 0)
        yield from _summed(leaf, name, dy)
        yield from _matrix_products(leaf, name, dy)


def _summed(leaf: Leaf, name: str, dy: Array) -> Iterator[Term]:
    """Σ over the leading axes of (b · dy), where what remains is the leaf's shape."""
    shape, extra = dy.shape[1:], dy.ndim - leaf.hand.ndim
    if extra <= 0 or shape[extra:] != leaf.shape:
        return
    axes, over = tuple(range(1, extra + 1)), tuple(range(extra))
    which = "" if extra == len(shape) else f", axis {over if extra > 1 else 0}"
    for b in factors(leaf, shape):
        inner = (b.value * dy).sum(axes)
        label = f"sum({_product(b.name, name)}{which})"
        yield Term(label, np.ones(leaf.shape), inner, b.degree, int(np.prod(shape[:extra])), over)


def _matrix_products(leaf: Leaf, name: str, dy: Array) -> Iterator[Term]:
    """dy a, dy aᵀ, a dy, aᵀ dy for every matrix a with which they have the leaf's shape."""
    if dy.ndim != 3 or len(leaf.shape) != 2:
        return
    one = np.ones(leaf.shape)
    for label, atom in leaf.evidence.atoms.items():
        if atom.ndim != 2 or not np.issubdtype(atom.dtype, np.floating):
            continue
        for matrix, text in ((atom, label), (atom.T, f"{label}ᵀ")):
            if dy.shape[2] == matrix.shape[0] and (dy.shape[1], matrix.shape[1]) == leaf.shape:
                yield Term(f"{name} {text}", one, dy @ matrix, 1)
            if matrix.shape[1] == dy.shape[1] and (matrix.shape[0], dy.shape[2]) == leaf.shape:
                yield Term(f"{text} {name}", one, matrix @ dy, 1)


def _spread(name: str, atom: Array, shape: tuple[int, ...]) -> Iterator[tuple[str, Array]]:
    """An array in a shape: as NumPy broadcasts it, along a missing last axis, or integers one-hot."""
    if np.issubdtype(atom.dtype, np.integer):
        one_hot = shape[:-1] == atom.shape and len(shape) > 0 and atom.size > 0
        if one_hot and atom.min() >= 0 and atom.max() < shape[-1]:
            yield f"one_hot({name})", np.eye(shape[-1])[atom]
        return
    value = atom.astype(np.float64)
    if not np.isfinite(value).all():
        return
    if _fits(value.shape, shape):
        yield name, np.broadcast_to(value, shape)
    elif value.ndim == len(shape) - 1 and _fits((*value.shape, 1), shape):
        yield name, np.broadcast_to(value[..., None], shape)


def _fits(shape: tuple[int, ...], target: tuple[int, ...]) -> bool:
    if len(shape) > len(target):
        return False
    tail = target[len(target) - len(shape) :]
    return all(n in (1, m) for n, m in zip(shape, tail, strict=True))


def _is_new(value: Array, found: list[Factor]) -> bool:
    """Neither 0 everywhere nor proportional to one of `found`."""
    size = float(np.vdot(value, value))
    if size == 0:
        return False
    for other in found:
        product, square = (
            float(np.vdot(other.value, value)),
            float(np.vdot(other.value, other.value)),
        )
        if product**2 >= (1 - 1e-12) * square * size:
            return False
    return True


def _reductions(shape: tuple[int, ...]) -> list[tuple[int, ...]]:
    """Each axis, then all of them; none of size 1."""
    single: list[tuple[int, ...]] = [(axis,) for axis, n in enumerate(shape) if n > 1]
    return single if len(single) < 2 else [*single, tuple(range(len(shape)))]


def _product(*names: str) -> str:
    return "·".join(name for name in names if name) or "1"
