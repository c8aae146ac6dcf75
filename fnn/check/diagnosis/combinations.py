"""A gradient made of wrong terms: a factor forgotten, one term for all, a term missing or changed.

    g = a · h    or    h = a · g    or    h = c · t    or    h = g − c · t
    h = c · g + d · t               or    h = g + c · t + d · u

with a, t and u of the dictionary in `terms` and constants c and d, the same for all elements and
probes. Candidates are sifted on a sample of the elements; a sentence is made of what fits all.
"""

from collections.abc import Iterator

import numpy as np

from fnn.check.diagnosis.constants import number, origin, same, with_origin
from fnn.check.diagnosis.evidence import FIT, Array, Leaf, leaf_of, norm
from fnn.check.diagnosis.terms import Factor, Term, factors, terms

_SAMPLE = 800  # elements on which candidates are sifted
_SIFTED = 1e-10  # of the square of what is wanted, that a candidate may leave there
_SPARE = 4  # equations more than constants, below which a fit says nothing
_MOST_PAIRED = 900  # terms of which every two are tried together
_LARGEST = 4_000_000  # elements of a leaf over all probes, above which no terms are tried


def combination(leaf: Leaf) -> str:
    """What h is made of, or "" where the dictionary has nothing that fits."""
    if not _SPARE < leaf.hand.size <= _LARGEST:
        return ""
    outer = factors(leaf, leaf.shape)
    if found := _factor(leaf, outer):
        return found
    dictionary = terms(leaf, outer)
    sample = _Sample(leaf, dictionary)
    for term, c in sample.proportional(leaf.hand):
        if term.degree <= 1 and leaf.explained_by(c * term.value):
            return f"the gradient is nothing but {_times(c, term, leaf)}"
    for term, c in sample.proportional(leaf.true - leaf.hand):
        if leaf.explained_by(leaf.true - c * term.value):
            return f"the term {_times(c, term, leaf)} is missing: with it the gradient is right"
    return _two_terms(leaf, dictionary, sample)


def without_upstream(leaf: Leaf) -> str:
    """What a gradient that does not depend on dy is, seen as one for dy = 1."""
    ones = leaf_of(leaf.evidence, leaf.path, [leaf.evidence.ones])
    if np.allclose(ones.hand, ones.true, rtol=1e-10, atol=1e-14):
        return "; for dy = 1 it would be right"
    for name, atom in leaf.evidence.atoms.items():
        if atom.shape == leaf.shape and np.array_equal(atom, leaf.hand[0]):
            return f"; it is {name}"
    found = combination(ones)
    return f"; and for dy = 1, {found}" if found else ""


class _Sample:
    """Every term at some elements of a leaf, the same for all."""

    def __init__(self, leaf: Leaf, dictionary: list[Term]) -> None:
        rng = np.random.default_rng(leaf.hand.size)
        chosen = np.arange(leaf.hand.size)
        if leaf.hand.size > _SAMPLE:
            chosen = np.sort(rng.choice(leaf.hand.size, _SAMPLE, replace=False))
        self.where = np.unravel_index(chosen, leaf.hand.shape)
        self.dictionary = dictionary
        self.columns = np.zeros((len(dictionary), len(chosen)))
        for column, term in zip(self.columns, dictionary, strict=True):
            column[:] = term.sample(self.where)

    def proportional(self, target: Array) -> Iterator[tuple[Term, float]]:
        """(t, c) with target = c · t on the sample, the simplest first."""
        wanted = target[self.where]
        squares = (self.columns**2).sum(axis=1)
        along = self.columns @ wanted
        total = float(wanted @ wanted)
        with np.errstate(divide="ignore", invalid="ignore"):
            left = 1 - along**2 / (squares * total)
        for i in np.nonzero(left <= _SIFTED)[0]:
            yield self.dictionary[i], float(along[i] / squares[i])


def _factor(leaf: Leaf, outer: list[Factor]) -> str:
    for a in outer[1:]:
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            lacking = np.where(leaf.true == 0, 0, leaf.true / a.value)
            excess = leaf.true * a.value
        c = _coefficient(lacking, leaf.hand) if np.isfinite(lacking).all() else 0.0
        if c and leaf.explained_by(c * lacking):
            times = "" if same(c, 1) else f" and {with_origin(1 / c, leaf.evidence)}"
            return f"the factor {a.name}{times} is missing: times that, it would be right"
        if (c := _coefficient(excess, leaf.hand)) and leaf.explained_by(c * excess):
            times = "" if same(c, 1) else f", times {with_origin(c, leaf.evidence)}"
            return f"the gradient is the right one times {a.name}{times}: a factor too many"
    return ""


def _two_terms(leaf: Leaf, dictionary: list[Term], sample: _Sample) -> str:
    """Two terms at a time: those without a sum, and those with a sum over the same axes."""
    if leaf.hand.size < _SPARE + 2:
        return ""
    right = Term("", np.ones(leaf.shape), leaf.true, 0)
    wanted = (leaf.hand - leaf.true)[sample.where]
    plain = [i for i, term in enumerate(dictionary) if not term.axes]
    for axes in dict.fromkeys(term.axes for term in dictionary):
        reduced = [i for i, term in enumerate(dictionary) if term.axes == axes] if axes else []
        chosen = [*plain, *reduced][:_MOST_PAIRED]
        candidates = [right, *(dictionary[i] for i in chosen)]
        columns = np.concatenate([right.sample(sample.where)[None], sample.columns[chosen]])
        for i, j in _pairs(columns, wanted):
            first, second = candidates[i], candidates[j]
            pair = np.stack([np.ravel(first.value), np.ravel(second.value)], axis=1)
            (c, d), _, rank, _ = np.linalg.lstsq(pair, np.ravel(leaf.hand - leaf.true), rcond=None)
            model = leaf.true + (pair @ np.array([c, d])).reshape(leaf.hand.shape)
            if rank == 2 and leaf.explained_by(model):
                return _in_words(leaf, first, float(c), second, float(d), dictionary)
    return ""


def _pairs(columns: Array, wanted: Array) -> Iterator[tuple[int, int]]:
    """The pairs of columns that leave little of what is wanted, the first ones first; at most ten."""
    sizes = np.linalg.norm(columns, axis=1)
    unit = columns / np.where(sizes, sizes, 1)[:, None]
    total = norm(wanted)
    along, gram = unit @ (wanted / total), unit @ unit.T
    determinant = 1 - gram**2
    with np.errstate(divide="ignore", invalid="ignore"):
        taken = along[:, None] ** 2 + along[None, :] ** 2 - 2 * gram * np.outer(along, along)
        taken /= determinant
    taken[(determinant < 1e-9) | np.tri(len(columns), dtype=bool)] = 0
    # A square root is lost in the Gram matrix: 1e-7 here is 3e-4 of the error.
    found = np.argwhere(np.abs(1 - taken) <= 1e-7)
    for i, j in sorted(found.tolist(), key=sum)[:10]:
        yield int(i), int(j)


def _in_words(
    leaf: Leaf, first: Term, c: float, second: Term, d: float, dictionary: list[Term]
) -> str:
    if not first.name:  # h = (1 + c) · g + d · t
        scale = with_origin(1 + c, leaf.evidence)
        if same(d, -c):
            return f"all of the gradient but the term {second.name} is {scale} times the right one"
        return f"the gradient is {scale} times the right one plus {_times(d, second, leaf)}"
    if not same(c, -d):
        added = f"{_times(c, first, leaf)} plus {_times(d, second, leaf)}"
        return f"the gradient is the right one plus {added}"
    # h − g = c t − c u: either c t stands for c u, or −c u for −c t. What else h has tells which.
    for (wrong, k), right in (((first, c), second), ((second, d), first)):
        rest = leaf.hand - k * wrong.value
        for term in dictionary:
            if term.degree > 1:
                break
            if norm(rest - _coefficient(term.value, rest) * term.value) <= FIT * norm(rest):
                return f"it has {_times(k, wrong, leaf)} where {_times(k, right, leaf)} is right"
    return (
        f"the gradient is the right one plus {_times(c, first, leaf)} minus "
        f"{_times(c, second, leaf)}: one of the two stands where the other is right"
    )


def _times(c: float, term: Term, leaf: Leaf) -> str:
    """c · t, with a mean where that is a sum over n, divided by n."""
    name = term.name
    if term.length > 1 and same(abs(c * term.length), 1):
        c, name = c * term.length, name.replace("sum(", "mean(", 1)
    if same(abs(c), 1):
        return f"{'-' if c < 0 else ''}{name}"
    size = origin(c, leaf.evidence)
    return f"{number(c)} · {name}" + (f" ({number(c)} = {size})" if size else "")


def _coefficient(term: Array, target: Array) -> float:
    square = float(np.vdot(term, term))
    return float(np.vdot(term, target)) / square if square else 0.0
