"""K nearest neighbours, exact: the first baseline of any classifier, with nothing to train.

All the work is left to prediction, which compares a query with every example. That is done block by
block, so that the distances of all pairs are never held.
"""

import functools
import math
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from fnn.dtypes import accumulation_dtype, computing_dtype
from fnn.layer import Array
from fnn.losses.targets import as_given, is_label, look

Norm = Literal["l1", "l2"]
NORMS = ("l1", "l2")

# Candidates over k that a matrix product finds, so that the k nearest are surely among them.
_SPARE = 16
# Features that are added to the distances at a time.
_FEATURES = 16


class Neighbours(NamedTuple):
    """The k nearest examples of each of Q queries, nearest first."""

    distance: Array  # (Q, k), in at least float32
    row: Array  # (Q, k), int32, into the examples


def nearest(
    examples: Any,
    queries: Any,
    k: int = 1,
    *,
    norm: Norm = "l2",
    block: int = 512,
    query_block: int = 64,
) -> Neighbours:
    """The k nearest of `examples` to each query.

    "l1" is the distance ``Σ |q - x|``, "l2" is ``√Σ (q - x)²``, both from sums of differences in float32
    at least. Of equal sums the lower row is nearer. A NaN is nearer than any number, so that it is
    seen. For l2, ``|q|² - 2 q x + |x|²``, which is a matrix product, finds some more than k candidates,
    whose differences decide; where its rounding could have missed one, the differences of all are taken.
    Squares of differences have to be numbers: in float32, differences from 1e-19 to 1e19 are safe.

    Memory beside the arguments: two copies of the examples for l1, three for l2, and for l2
    query_block · (k + 16) rows of them.

    Args:
      examples: (N, …) of real floats.
      queries: (Q, …) with the same axes after the first.
      k: how many, at most N.
      norm: "l1" or "l2".
      block: examples that are compared at a time.
      query_block: queries that are; no array of more than max(block, k) · query_block distances is held.

    Returns:
      (Q, k) distances, and the rows of the examples, nearest first.

    Raises:
      TypeError: examples or queries are not of real floats, or k or a block is no int.
      ValueError: shapes that do not fit, no such norm, or a k or a block out of range.
    """
    rows, asked = _rows("examples", examples), _rows("queries", queries)
    if jnp.shape(examples)[1:] != jnp.shape(queries)[1:]:
        raise ValueError(
            f"nearest: expected queries (Q, …) shaped like the examples {jnp.shape(examples)}, got "
            f"{jnp.shape(queries)}"
        )
    for what, number in (("k", k), ("block", block), ("query_block", query_block)):
        if not isinstance(number, int | np.integer):
            raise TypeError(f"nearest: expected an int for {what}, got {number!r}")
    if not 1 <= k <= rows.shape[0]:
        raise ValueError(f"nearest: expected 1 <= k <= {rows.shape[0]} examples, got {k}")
    if norm not in NORMS:
        raise ValueError(f"nearest: expected a norm among {NORMS}, got {norm!r}")
    if block < 1 or query_block < 1:
        raise ValueError(
            f"nearest: expected blocks of at least 1, got block {block} and query_block {query_block}"
        )
    dtype = accumulation_dtype(computing_dtype(rows, asked))
    sizes = min(block, rows.shape[0]), max(1, min(query_block, asked.shape[0]))
    return _nearest(rows.astype(dtype), asked.astype(dtype), k, norm, *sizes)


def vote(labels: Any, classes: int) -> Array:
    """The class that most of each query's neighbours have; of equally many, the nearest one's.

    Args:
      labels: (Q, k) integers from 0 to classes - 1, those of the nearest first.
      classes: how many there are.

    Returns:
      (Q,) labels, in int32 at least. Inside `jit`, where values cannot be looked at, a query with a
      neighbour whose label is no class gets -1, which is none.

    Raises:
      TypeError: labels are not of integers.
      ValueError: labels are no array of numbers; there is no class or no neighbour; a label is out of
        range.
    """
    given = _labels("vote", labels, classes)
    if given.ndim != 2 or given.shape[1] < 1:
        raise ValueError(
            f"vote: expected labels of shape (Q, k) with a neighbour at least, got {given.shape}"
        )
    return _vote(given, classes)


def classify(
    examples: Any, labels: Any, queries: Any, k: int = 1, *, classes: int, norm: Norm = "l2"
) -> Array:
    """(Q,) the class that each query's k nearest examples vote for; see `nearest` and `vote`.

    Inside `jit`, where labels cannot be looked at, it is -1 where a neighbour's is no class.

    Raises:
      TypeError: examples or queries are not of real floats, or labels are not of integers.
      ValueError: as `nearest`; the labels are not one for each example; there is no class; a label is
        out of range, be its example anybody's neighbour or not.
    """
    given = _labels("classify", labels, classes)
    if given.shape != jnp.shape(examples)[:1]:
        raise ValueError(
            f"classify: expected a label for each of the examples {jnp.shape(examples)}, got labels "
            f"{given.shape}"
        )
    return _vote(given[nearest(examples, queries, k, norm=norm).row], classes)


def _labels(name: str, labels: Any, classes: int) -> Array:
    """Labels in int32 at least, of which those that are known are looked at.

    Raises:
      TypeError, ValueError: they are no array, or not of integers; one is no class, or there is none.
    """
    if not isinstance(classes, int | np.integer):
        raise TypeError(f"{name}: expected a number of classes, got {classes!r}")
    if classes < 1:
        raise ValueError(f"{name}: expected one class at least, got {classes}")
    # As they came: without x64, jax would cut an int64 to the 32 bits of another class.
    given = as_given(name, labels, "integers as labels")
    if not jnp.issubdtype(given.dtype, jnp.integer):
        raise TypeError(f"{name}: expected labels of integers, got {given.dtype}")
    look(name, given, lambda known: is_label(known, classes), f"labels in [0, {classes})")
    array = jnp.asarray(given)
    # Signed, so that -1 has a place; an unsigned number that has none becomes negative, and no class.
    return array.astype(jnp.int64 if array.dtype.itemsize == 8 else jnp.int32)


def _vote(labels: Array, classes: int) -> Array:
    """What `vote` says, of labels that need not be classes."""
    valid = is_label(labels, classes)
    numbers = jnp.arange(classes, dtype=labels.dtype)[None, None]
    votes = (labels[..., None] == numbers).sum(axis=1)
    # The index must be within, whatever the label: the answer is -1 then.
    of_neighbour = jnp.take_along_axis(votes, jnp.where(valid, labels, 0), axis=1)
    first = jnp.argmax(of_neighbour, axis=1)[:, None]  # of equal ones it returns the first
    chosen = jnp.take_along_axis(labels, first, axis=1)[:, 0]
    return jnp.where(valid.all(axis=1), chosen, -1)


def _rows(what: str, x: Any) -> Array:
    """(N, …) as (N, D).

    Raises:
      TypeError, ValueError: x is not of real floats, or no batch of anything.
    """
    x = jnp.asarray(as_given("nearest", x, f"{what} of real floats"))
    if not jnp.issubdtype(x.dtype, jnp.floating):
        raise TypeError(
            f"nearest: expected {what} of a floating dtype, got {x.dtype}; convert them before"
        )
    if x.ndim < 2 or 0 in x.shape[1:]:
        raise ValueError(f"nearest: expected {what} of shape (N, …) with features, got {x.shape}")
    return x.reshape(x.shape[0], math.prod(x.shape[1:]))


@functools.partial(jax.jit, static_argnames=("k", "norm", "block", "query_block"))
def _nearest(
    x: Array, queries: Array, k: int, norm: Norm, block: int, query_block: int
) -> Neighbours:
    """By blocks of queries, one after the other."""
    count = queries.shape[0]
    shape = (-(-count // query_block), query_block, x.shape[1])
    blocks = jnp.pad(queries, ((0, shape[0] * query_block - count), (0, 0))).reshape(shape)
    if norm == "l1":
        find = functools.partial(_by_differences, x, k=k, norm=norm, block=block)
    else:
        find = _by_products(x, k, block)
    distance, index = lax.map(find, blocks)
    if norm == "l2":
        distance = jnp.sqrt(distance)
    return Neighbours(distance.reshape(-1, k)[:count], index.reshape(-1, k)[:count])


def _by_differences(x: Array, q: Array, *, k: int, norm: Norm, block: int) -> tuple[Array, Array]:
    """The k smallest ``Σ |q - x|`` or ``Σ (q - x)²``.

    A few features at a time are added to all distances of a block, which stay in the processor's cache,
    and of which it makes several at once: three to six times as fast as pair by pair.
    """
    q_columns = _columns(q)

    def add(total: Array, columns: tuple[Array, Array]) -> tuple[Array, None]:
        for of_q, of_x in zip(*columns, strict=True):
            difference = of_q[:, None] - of_x[None, :]
            total = total + (jnp.abs(difference) if norm == "l1" else difference * difference)
        return total, None

    def distances(x: Array) -> Array:
        none = jnp.zeros((q.shape[0], x.shape[0]), x.dtype)
        return lax.scan(add, none, (q_columns, _columns(x)))[0]

    return _smallest(distances, x, q.shape[0], k, block)


def _columns(x: Array) -> Array:
    """(N, D) as (D / 16, 16, N); features that are missing for the last 16 are 0."""
    filled = jnp.pad(x, ((0, 0), (0, -x.shape[1] % _FEATURES)))
    return filled.T.reshape(-1, _FEATURES, x.shape[0])


def _by_products(x: Array, k: int, block: int) -> Any:
    """The function of q that finds the k smallest ``Σ (q - x)²``, most of the work by a product."""
    size, features = x.shape
    candidates = min(k + _SPARE, size)
    centre = x.mean(
        axis=0, keepdims=True
    )  # the closer to 0, the less is lost in |q|² - 2 q x + |x|²
    moved = x - centre
    norms = jnp.square(moved).sum(axis=1)
    longest = jnp.sqrt(norms.max())

    def find(q: Array) -> tuple[Array, Array]:
        centred = q - centre
        lengths = jnp.square(centred).sum(axis=1)

        def distances(block: tuple[Array, Array]) -> Array:
            x, norm = block
            products = jnp.matmul(centred, x.T, precision=lax.Precision.HIGHEST)
            return lengths[:, None] - 2 * products + norm[None, :]

        rough, index = _smallest(distances, (moved, norms), q.shape[0], candidates, block)
        exact = jnp.square(q[:, None] - x[index]).sum(axis=-1)
        exact, index = lax.sort((exact, index), num_keys=2)
        # A sum of D products errs by at most D/2 eps of the product of the lengths; twice that is asked.
        error = (features + 8) * jnp.finfo(x.dtype).eps * (jnp.sqrt(lengths) + longest) ** 2
        sure = exact[:, k - 1] * (1 + features * jnp.finfo(x.dtype).eps) < rough[:, -1] - error
        if candidates == size:  # all of them, unless a NaN was put last
            sure = ~jnp.isnan(exact[:, -1])
        return lax.cond(
            jnp.all(sure),
            lambda: (exact[:, :k], index[:, :k]),
            lambda: _by_differences(x, q, k=k, norm="l2", block=block),
        )

    return find


def _smallest(distances: Any, x: Any, count: int, k: int, block: int) -> tuple[Array, Array]:
    """The k smallest of ``distances(x)`` for `count` queries, over blocks of x, and their rows.

    x may be several arrays with the same rows.
    """
    size, block = jax.tree.leaves(x)[0].shape[0], max(block, k)
    blocks = -(-size // block)

    def split(leaf: Array) -> Array:
        filled = jnp.pad(leaf, ((0, blocks * block - size), *((0, 0),) * (leaf.ndim - 1)))
        return filled.reshape(blocks, block, *leaf.shape[1:])

    padded = jax.tree.map(split, x)

    def of_block(x: Any, start: Array) -> tuple[Array, Array]:
        rows = start + jnp.arange(block, dtype=jnp.int32)
        found = jnp.where((rows < size)[None, :], distances(x), jnp.inf)
        return found, jnp.broadcast_to(rows[None, :], (count, block))

    def best(found: Array, rows: Array) -> tuple[Array, Array]:
        order = jnp.where(jnp.isnan(found), jnp.inf, -found)
        place = lax.top_k(order, k)[1]  # of equal ones the first, whose row is lower
        return jnp.take_along_axis(found, place, axis=1), jnp.take_along_axis(rows, place, axis=1)

    def merge(
        so_far: tuple[Array, Array], step: tuple[Any, Array]
    ) -> tuple[tuple[Array, Array], None]:
        both = zip(so_far, of_block(*step), strict=True)
        return best(*(jnp.concatenate(pair, axis=1) for pair in both)), None

    starts = block * jnp.arange(blocks, dtype=jnp.int32)
    first = best(*of_block(jax.tree.map(lambda leaf: leaf[0], padded), starts[0]))
    rest = jax.tree.map(lambda leaf: leaf[1:], (padded, starts))
    return lax.scan(merge, first, rest)[0]
