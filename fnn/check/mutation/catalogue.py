"""The mistakes that people make in a backward pass, for any layer: a list kept by hand.

Each is a function ``(params, x, gradient, dy) -> faults``, one for every leaf and way in which this
subject can have it; a fault is ``(backward, params, cache, dy) -> Gradient``. The equations are left
alone: what is wrong is the result, or what the backward pass was given.
"""

from collections.abc import Callable, Iterator
from itertools import combinations
from typing import Any, NamedTuple

import jax
import numpy as np

from fnn.check.mutation.rules import Change, numbers_of
from fnn.check.precision import is_real
from fnn.check.subject import Gradient
from fnn.layer import BackwardFunction, PyTree
from fnn.tree import paths

Condition = Callable[[Any], bool]
Spoil = Callable[[BackwardFunction, PyTree, PyTree, PyTree], Gradient]


class Fault(NamedTuple):
    """One mistake in one leaf of a gradient, or in all of it."""

    name: str
    leaf: str
    spoil: Spoil


Mistake = Callable[[PyTree, PyTree, Gradient, PyTree], Iterator[Fault]]


def _anything(leaf: Any) -> bool:
    del leaf
    return True


def on_a_leaf(name: str, function: Change, applies: Condition = _anything) -> Mistake:
    """``function(xp, leaf)`` in place of each leaf that it `applies` to."""

    def mistake(params: PyTree, x: PyTree, gradient: Gradient, dy: PyTree) -> Iterator[Fault]:
        for path, leaf in _real(gradient):
            if applies(leaf):
                yield Fault(name, path, _changed(path, function))

    return mistake


def on_the_cotangent(
    name: str, function: Change, part: str, applies: Condition = _anything
) -> Mistake:
    """The gradients of `params` or of `x` for ``function(xp, dy leaf)`` in place of dy."""

    def mistake(params: PyTree, x: PyTree, gradient: Gradient, dy: PyTree) -> Iterator[Fault]:
        has_part = any(path.split("/")[0] == part for path, _ in _real(gradient))
        if not has_part or not any(applies(leaf) for leaf in jax.tree.leaves(dy)):
            return

        change = _applied(function)

        def spoil(
            backward: BackwardFunction, params: PyTree, cache: PyTree, dy: PyTree
        ) -> Gradient:
            right = Gradient(*backward(params, cache, dy))
            other = jax.tree.map(lambda leaf: change(leaf) if applies(leaf) else leaf, dy)
            wrong = Gradient(*backward(params, cache, other))
            return right._replace(**{part: getattr(wrong, part)})

        yield Fault(name, part, spoil)

    return mistake


def _swapped_leaves(params: PyTree, x: PyTree, gradient: Gradient, dy: PyTree) -> Iterator[Fault]:
    for (one, a), (other, b) in combinations(_real(gradient), 2):
        if a.shape == b.shape and one.split("/")[0] == other.split("/")[0]:

            def spoil(
                backward: BackwardFunction,
                params: PyTree,
                cache: PyTree,
                dy: PyTree,
                one: str = one,
                other: str = other,
            ) -> Gradient:
                right = Gradient(*backward(params, cache, dy))
                found = dict(paths(right))
                return _with(right, {one: found[other], other: found[one]})

            yield Fault("leaves swapped", f"{one} and {other}", spoil)


def _changed(path: str, function: Change) -> Spoil:
    def spoil(backward: BackwardFunction, params: PyTree, cache: PyTree, dy: PyTree) -> Gradient:
        right = Gradient(*backward(params, cache, dy))
        return _with(right, {path: _applied(function)(dict(paths(right))[path])})

    return spoil


def _applied(function: Change) -> Callable[[Any], Any]:
    def apply(leaf: Any) -> Any:
        xp = numbers_of(leaf)
        return function(xp, xp.asarray(leaf))

    return apply


def _with(gradient: Gradient, changes: dict[str, Any]) -> Gradient:
    leaves = [changes.get(path, leaf) for path, leaf in paths(gradient)]
    return jax.tree.unflatten(jax.tree.structure(gradient), leaves)


def _real(gradient: Gradient) -> list[tuple[str, Any]]:
    return [(path, leaf) for path, leaf in paths(gradient) if is_real(leaf) and leaf.size]


def _one_element(xp: Any, leaf: Any) -> Any:
    """Added, not multiplied: an element that is 0 at this point is wrong as well."""
    mask = np.zeros(leaf.size, leaf.dtype)
    mask[leaf.size // 2] = 0.01
    return leaf + mask.reshape(leaf.shape) * xp.abs(leaf).max()


def _a_nan(xp: Any, leaf: Any) -> Any:
    mask = np.zeros(leaf.size, bool)
    mask[-1] = True
    return xp.where(mask.reshape(leaf.shape), np.asarray(np.nan, leaf.dtype), leaf)


def _count(leaf: Any) -> int:
    return leaf.shape[0] if leaf.ndim and leaf.shape[0] > 1 else max(leaf.size, 2)


def _first_row(xp: Any, dy: Any) -> Any:
    return dy * _rows(dy, slice(0, 1))


def _without_last_row(xp: Any, dy: Any) -> Any:
    return dy * _rows(dy, slice(0, -1))


def _rows(dy: Any, kept: slice) -> Any:
    mask = np.zeros(dy.shape[0], dy.dtype)
    mask[kept] = 1
    return mask.reshape(-1, *[1] * (dy.ndim - 1))


def _transposed(xp: Any, leaf: Any) -> Any:
    return xp.swapaxes(leaf, -1, -2) if _is_square(leaf) else leaf


def _summed(xp: Any, leaf: Any) -> Any:
    return xp.broadcast_to(leaf.sum(0), leaf.shape)


def _several(leaf: Any) -> bool:
    return leaf.size > 1


def _has_rows(leaf: Any) -> bool:
    return leaf.ndim > 0 and leaf.shape[0] > 1


def _is_square(leaf: Any) -> bool:
    return leaf.ndim > 1 and leaf.shape[-1] == leaf.shape[-2] > 1


def _is_no_column(leaf: Any) -> bool:
    return leaf.ndim != 2 or leaf.shape[1] != 1


CATALOGUE: tuple[Mistake, ...] = (
    on_a_leaf("0.1 % too large", lambda xp, leaf: leaf * 1.001),
    on_a_leaf("factor 2", lambda xp, leaf: leaf * 2.0),
    on_a_leaf("factor 1/2", lambda xp, leaf: leaf / 2),
    on_a_leaf("wrong sign", lambda xp, leaf: -leaf),
    on_a_leaf("zero", lambda xp, leaf: xp.zeros_like(leaf)),
    on_a_leaf("ones", lambda xp, leaf: xp.ones_like(leaf)),
    on_a_leaf("absolute value", lambda xp, leaf: xp.abs(leaf)),
    on_a_leaf("clipped to 1", lambda xp, leaf: xp.clip(leaf, -1, 1)),
    on_a_leaf("mean for sum", lambda xp, leaf: leaf / _count(leaf), _several),
    on_a_leaf("n / (n - 1)", lambda xp, leaf: leaf * (_count(leaf) / (_count(leaf) - 1)), _several),
    on_a_leaf("another row's gradient", lambda xp, leaf: xp.roll(leaf, 1, 0), _has_rows),
    on_a_leaf("rows in reverse", lambda xp, leaf: xp.flip(leaf, 0), _has_rows),
    on_a_leaf("summed over rows", _summed, _has_rows),
    on_a_leaf("transposed", _transposed, _is_square),
    on_a_leaf("one element 1 % off", _one_element),
    on_a_leaf("one element NaN", _a_nan),
    on_a_leaf("rounded to float32", lambda xp, leaf: leaf.astype(np.float32).astype(leaf.dtype)),
    on_a_leaf("in float32", lambda xp, leaf: leaf.astype(np.float32)),
    on_a_leaf("an axis too many", lambda xp, leaf: leaf[None]),
    on_a_leaf("as a column", lambda xp, leaf: leaf.reshape(-1, 1), _is_no_column),
    on_a_leaf("None for a leaf", lambda xp, leaf: None),
    _swapped_leaves,
    *(
        on_the_cotangent(name, function, part, applies)
        for part in ("params", "x")
        for name, function, applies in (
            ("no upstream dy", lambda xp, dy: xp.ones_like(dy), _anything),
            ("last example dropped", _without_last_row, _has_rows),
            ("from the first example alone", _first_row, _has_rows),
            ("another example's dy", lambda xp, dy: xp.roll(dy, 1, 0), _has_rows),
            ("right only for symmetric dy", _transposed, _is_square),
            ("dy squared", lambda xp, dy: dy * dy, _anything),
            ("|dy|", lambda xp, dy: xp.abs(dy), _anything),
            ("dy clipped to 1", lambda xp, dy: xp.clip(dy, -1, 1), _anything),
            ("dy in float32", lambda xp, dy: dy.astype(np.float32).astype(dy.dtype), _anything),
        )
    ),
)
