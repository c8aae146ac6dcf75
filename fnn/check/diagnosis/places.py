"""Where in a leaf: an element, a slice, or all elements at which some array has a property."""

import math

import numpy as np

from fnn.check.diagnosis.evidence import Array, Leaf

_CHANCE = 1e-4  # that as many elements, drawn at random, lie on one side of a threshold


def place(leaf: Leaf, wrong: Array) -> str:
    """A set of elements in words: ``where x > 0``, ``at [2, 3]``, ``in [5, :]``; "" if irregular."""
    return _by_value(leaf, wrong, plain=True) or _by_index(wrong) or _by_value(leaf, wrong)


def _by_index(wrong: Array) -> str:
    """A single element, or the box of indices that the set fills."""
    if wrong.ndim == 0:
        return ""
    ranges = [np.unique(found) for found in np.nonzero(wrong)]
    if not wrong[np.ix_(*ranges)].all() or wrong.all():
        return ""
    words = []
    for found, n in zip(ranges, wrong.shape, strict=True):
        first, last = int(found[0]), int(found[-1])
        if len(found) == n:
            words.append(":")
        elif len(found) == 1:
            words.append(str(first))
        elif last - first + 1 == len(found):
            words.append(f"{first or ''}:{last + 1 if last + 1 < n else ''}")
        elif (steps := np.unique(np.diff(found))).size == 1:
            words.append(f"{first}:{last + 1}:{int(steps[0])}")
        elif len(found) <= 8:
            words.append(str([int(i) for i in found]))
        else:
            return ""
    return f"{'at' if wrong.sum() == 1 else 'in'} [{', '.join(words)}]"


def _by_value(leaf: Leaf, wrong: Array, *, plain: bool = False) -> str:
    """A comparison that an array of the leaf's shape fulfils there and nowhere else.

    With `plain` those with 0 alone; otherwise any threshold, if it cannot well be chance.
    """
    inside, total = int(wrong.sum()), wrong.size
    if not 0 < inside < total:
        return ""
    likely_chance = 1 / math.comb(total, inside) > _CHANCE
    for name, atom in leaf.evidence.atoms.items():
        if atom.shape != wrong.shape:
            continue
        if atom.dtype == np.bool_:
            for value in (True, False):
                if plain and not likely_chance and np.array_equal(wrong, atom == value):
                    return f"where {name} is {value}"
            continue
        for text, values in ((name, atom), (f"|{name}|", np.abs(atom))):
            if plain:
                tests = {"= 0": values == 0, "!= 0": values != 0}
                if text == name and not likely_chance:
                    tests |= {">": values > 0, "<": values < 0, ">=": values >= 0}
                    tests |= {"<=": values <= 0}
                for word, test in tests.items():
                    if np.array_equal(wrong, test):
                        return f"where {text} {word if '0' in word else word + ' 0'}"
            elif not likely_chance:
                low, high = values[wrong], values[~wrong]
                if low.min() > high.max():
                    return f"where {text} > {_between(high.max(), low.min())}"
                if low.max() < high.min():
                    return f"where {text} < {_between(low.max(), high.min())}"
                below, above = high[high < low.min()], high[high > low.max()]
                if len(below) + len(above) == len(high):
                    least = _between(below.max(), low.min())
                    return f"where {least} < {text} < {_between(low.max(), above.min())}"
    return ""


def _between(low: float, high: float) -> str:
    """The roundest number between two."""
    if low < 0 < high:
        return "0"
    for digits in range(-3, 12):
        middle = round((float(low) + float(high)) / 2, digits)
        if low < middle < high:
            return f"{middle:g}"
    return f"{low:g}"
