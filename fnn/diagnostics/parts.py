"""Many examples in parts of one size: a scan over whole parts, and what is left over by itself."""

from collections.abc import Callable
from typing import TypeVar

import jax
import jax.numpy as jnp

from fnn.layer import Key, PyTree

Result = TypeVar("Result")


def examples_in(data: PyTree) -> int:
    """How many examples there are: the length of the first axis of every leaf.

    Raises:
      ValueError: there is none, or the leaves disagree.
    """
    counts = {leaf.shape[0] if leaf.ndim else None for leaf in jax.tree.leaves(data)}
    if len(counts) != 1 or None in counts or 0 in counts:
        raise ValueError(
            "expected the first axis of x, target and weights to be of one or more examples, as many "
            f"in each, got {[leaf.shape for leaf in jax.tree.leaves(data)]}"
        )
    return counts.pop() or 0


def thinned(data: PyTree, count: int) -> PyTree:
    """`count` of the examples, at equal distances.

    Raises:
      ValueError: there are fewer.
    """
    there = examples_in(data)
    if count > there:
        raise ValueError(f"expected a subset of at most the {there} examples, got {count}")
    every = there // count
    return jax.tree.map(lambda leaf: leaf[: every * count : every], data)


def over_parts(
    function: Callable[[PyTree, Key], Result],
    merge: Callable[[Result, Result], Result],
    begin: Callable[[Result], Result],
    data: PyTree,
    key: Key,
    size: int | None,
) -> Result:
    """``function(part, key)`` of every part, merged; of all the data at once where `size` is None.

    Args:
      function: of some of the data and a key of their own, ``fold_in(key, i)``.
      merge: of two results, associative.
      begin: of a result's shapes, the one that `merge` leaves others alone with.
      data: a tree whose leaves have the examples for their first axis.
      key: or None.
      size: examples a part.
    """
    count = examples_in(data)
    if size is None or size >= count:
        return function(data, key)
    whole, rest = count // size, count % size

    def folded(i: int | jax.Array) -> Key:
        return None if key is None else jax.random.fold_in(key, i)

    stacked = jax.tree.map(
        lambda leaf: leaf[: whole * size].reshape(whole, size, *leaf.shape[1:]), data
    )
    first = jax.tree.map(lambda leaf: leaf[0], stacked)
    total = begin(jax.eval_shape(function, first, folded(0)))

    def body(total: Result, each: tuple[PyTree, jax.Array]) -> tuple[Result, None]:
        part, i = each
        return merge(total, function(part, folded(i))), None

    total, _ = jax.lax.scan(body, total, (stacked, jnp.arange(whole)))
    if rest:
        left = jax.tree.map(lambda leaf: leaf[whole * size :], data)
        total = merge(total, function(left, folded(whole)))
    return total
