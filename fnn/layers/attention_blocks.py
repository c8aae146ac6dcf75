"""Softmax attention and its backward pass, a block of scores at a time.

Of the scores of all queries against all keys only a block is ever held: those of a few examples, or of
a few queries of one example. Between the two passes lie q, k, v, the output, and one number a query,
the log of its sum of exponentials; from these backward computes each block of probabilities again.

Inside, heads stand before time, so that every product is one of matrices. With K heads of keys, each
of which serves G heads of queries, and H = K · G:

    q, o (n, K, G, T, ·)      k, v (n, K, S, ·)      scores (n, K, G, T, S)

Source of the recomputation: Dao, Fu, Ermon, Rudra, Ré (2022).
"""

import functools
import itertools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from fnn.dtypes import accumulation_dtype
from fnn.layer import Array, PyTree
from fnn.layers.partitioned import devices, partitioned

SCORES = (
    1 << 19
)  # held at once: of 2¹⁷ to 2²² the fastest, as what follows from them stays in cache
_LEAST = 16  # queries at once, however many keys there are
_SEGMENTS = 4  # causal queries in four groups skip 3/8 of the scores; eight gain nothing more
_TIME = 3  # the axis of q, o and the normalizer


class Segment(NamedTuple):
    """The queries from `start` to `stop` look at the first `keys` keys."""

    start: int
    stop: int
    keys: int


class Plan(NamedTuple):
    """What is computed at once, and what does not change in between."""

    examples: int  # at once: a divisor of all
    queries: int  # of each, at once
    segments: tuple[Segment, ...]  # several only if causal
    causal: bool
    scale: float


def plan(q: Array, k: Array, causal: bool, scale: float, scores: int | None) -> Plan:
    """Blocks of about `scores` scores, `SCORES` by default, of q (N, T, H, D) and k (N, S, K, D).

    On several devices, of which each has some of the examples: so many scores on each.
    """
    (count, queries, heads, _), keys = q.shape, k.shape[1]
    parts = devices() if count % devices() == 0 else 1
    count //= parts
    limit = max(SCORES, _LEAST * heads * keys) if scores is None else scores
    held = queries * heads * keys  # by one example
    if held <= limit:
        examples = min(max(count, 1), limit // max(held, 1))
        while count % examples:
            examples -= 1
        rows = queries
    else:
        examples, rows = 1, -(-queries // -(-held // limit))
        rows = min(-(-rows // 8) * 8, queries) if rows > 8 else rows
    blocks = -(-queries // max(rows, 1))
    step = rows * -(-blocks // _SEGMENTS) if causal else queries
    edges = (*range(0, queries or 1, max(step, 1)), queries)
    segments = tuple(
        Segment(start, stop, min(stop, keys) if causal else keys)
        for start, stop in itertools.pairwise(edges)
    )
    return Plan(examples * parts, rows, segments, causal, scale)


class _Keys(NamedTuple):
    """What the queries of a segment look at."""

    k: Array  # (n, K, S, D)
    v: Array  # (n, K, S, E)
    mask: Array | None  # (n, K or 1, G or 1, 1, S); None too if every query has its own


@functools.partial(
    jax.jit, static_argnames="plan"
)  # outside of a jit, a loop would compile each call
def forward(q: Array, k: Array, v: Array, mask: Array | None, plan: Plan) -> tuple[Array, Array]:
    """The output (N, T, H, E) and the normalizer (N, K, G, T, 1), log Σ exp.

    Of q (N, T, H, D), k (N, S, K, D), v (N, S, K, E), all of one dtype, and a mask of the keys that
    count: (N, K or 1, G or 1, T or 1, S). Without such a key, a query gives 0, and its normalizer is 0.
    """

    def some(q: Array, k: Array, v: Array, mask: Array | None) -> tuple[Array, Array]:
        q, k, v = _grouped(q, k), _heads_first(k), _heads_first(v)
        outputs = []
        for segment in plan.segments:
            keys, rows = _seen(segment, k, v, mask)
            function = functools.partial(_forward_block, plan, keys)
            outputs.append(_over_queries(function, None, (q, rows), segment, plan)[1])
        o, normalizer = _joined(outputs)
        return _ungrouped(o), normalizer

    return _over_examples(some, plan, (q, k, v, mask))


def _forward_block(
    plan: Plan, keys: _Keys, carry: None, start: Array | int, rows: tuple[Array, Array | None]
) -> tuple[None, tuple[Array, Array]]:
    """One block of queries, the first of which is `start`."""
    q, mask = rows
    scores, _ = _scores(plan, keys, q, mask, start)
    # A constant as far as derivatives go: it cancels. -∞ - -∞ would be NaN.
    top = lax.stop_gradient(scores.max(axis=-1, keepdims=True, initial=-jnp.inf))
    shift = jnp.where(jnp.isfinite(top), top, 0)
    p = jnp.exp(scores - shift)
    total = p.sum(axis=-1, keepdims=True)
    # 0 only without a key that counts. Added, not selected, so that a NaN goes both ways.
    total = total + (total == 0).astype(total.dtype)
    o = _product(p.astype(q.dtype), keys.v) / total
    return carry, (o.astype(q.dtype), jnp.log(total) + shift)


@functools.partial(jax.jit, static_argnames="plan")
def backward(
    q: Array,
    k: Array,
    v: Array,
    mask: Array | None,
    o: Array,
    normalizer: Array,
    do: Array,
    plan: Plan,
) -> tuple[Array, Array, Array]:
    """(dq, dk, dv), at least float32, from what `forward` took and gave."""

    def some(
        q: Array, k: Array, v: Array, mask: Array | None, o: Array, normalizer: Array, do: Array
    ) -> tuple[Array, Array, Array]:
        q, o, do = _grouped(q, k), _grouped(o, k), _grouped(do, k)
        k, v = _heads_first(k), _heads_first(v)
        wide = normalizer.dtype
        dk, dv, dqs = jnp.zeros(k.shape, wide), jnp.zeros(v.shape, wide), []
        for segment in plan.segments:
            keys, rows = _seen(segment, k, v, mask)
            function = functools.partial(_backward_block, plan, keys)
            sums = dk[:, :, : segment.keys], dv[:, :, : segment.keys]
            sums, dq = _over_queries(function, sums, (q, rows, o, normalizer, do), segment, plan)
            dk, dv = (
                dk.at[:, :, : segment.keys].set(sums[0]),
                dv.at[:, :, : segment.keys].set(sums[1]),
            )
            dqs.append(dq)
        return _ungrouped(_joined(dqs)), _heads_first(dk), _heads_first(dv)

    return _over_examples(some, plan, (q, k, v, mask, o, normalizer, do))


def _backward_block(
    plan: Plan, keys: _Keys, sums: tuple[Array, Array], start: Array | int, rows: Any
) -> tuple[tuple[Array, Array], Array]:
    """dq of one block of queries, and what it adds to dk and dv."""
    q, mask, o, normalizer, do = rows
    (dk, dv), wide = sums, normalizer.dtype
    scores, allowed = _scores(plan, keys, q, mask, start)
    p = jnp.exp(scores - normalizer)
    mean = (do.astype(wide) * o.astype(wide)).sum(axis=-1, keepdims=True)  # Σ_s p dp of a query
    dscores = p * (_product(do, keys.v.swapaxes(-1, -2)) - mean)
    if allowed is not None:  # where p is 0, but v may be infinite
        dscores = jnp.where(allowed, dscores, 0)
    dscores, p = dscores.astype(q.dtype), p.astype(q.dtype)
    dq = _product(dscores, keys.k) * plan.scale
    dk = dk + _transposed_product(dscores, q * plan.scale)
    return (dk, dv + _transposed_product(p, do)), dq


def _scores(
    plan: Plan, keys: _Keys, q: Array, mask: Array | None, start: Array | int
) -> tuple[Array, Array | None]:
    """scale · q kᵀ, -∞ where a key does not count, and where it does: None for everywhere."""
    scores = _product(q * plan.scale, keys.k.swapaxes(-1, -2))
    allowed = keys.mask if mask is None else mask
    if plan.causal:
        shape = (1, 1, 1, *scores.shape[-2:])
        query = lax.broadcasted_iota(jnp.int32, shape, 3) + start
        past = query >= lax.broadcasted_iota(jnp.int32, shape, 4)
        allowed = past if allowed is None else past & allowed
    return scores if allowed is None else jnp.where(allowed, scores, -jnp.inf), allowed


def _product(rows: Array, matrix: Array) -> Array:
    """(n, K, G, T, A), (n, K, A, B) -> (n, K, G, T, B), one product for all heads of a group."""
    y = jnp.matmul(_flat(rows), matrix, preferred_element_type=accumulation_dtype(rows.dtype))
    return y.reshape(*rows.shape[:4], matrix.shape[-1])


def _transposed_product(a: Array, b: Array) -> Array:
    """(n, K, G, T, A), (n, K, G, T, B) -> (n, K, A, B): the sum over the queries of a group."""
    wide = accumulation_dtype(a.dtype)
    return jnp.matmul(_flat(a).swapaxes(-1, -2), _flat(b), preferred_element_type=wide)


def _flat(rows: Array) -> Array:
    """(n, K, G, T, A) -> (n, K, G · T, A)."""
    n, heads, groups, time, width = rows.shape
    return rows.reshape(n, heads, groups * time, width)


def _seen(segment: Segment, k: Array, v: Array, mask: Array | None) -> tuple[_Keys, Array | None]:
    """The keys of a segment, and the mask of all queries over them, if each has its own."""
    k, v = k[:, :, : segment.keys], v[:, :, : segment.keys]
    mask = None if mask is None else mask[..., : segment.keys]
    if mask is None or mask.shape[_TIME] == 1:
        return _Keys(k, v, mask), None
    return _Keys(k, v, None), mask


def _over_queries(
    function: Callable[..., tuple[Any, Any]],
    carry: PyTree,
    rows: PyTree,
    segment: Segment,
    plan: Plan,
) -> tuple[PyTree, PyTree]:
    """``carry, y = function(carry, start, block of rows)`` over a segment; all y, joined again."""
    block = max(plan.queries, 1)
    many, found = (segment.stop - segment.start) // block, []
    middle = segment.start + many * block

    def cut(start: int, stop: int) -> PyTree:
        return jax.tree.map(lambda a: lax.slice_in_dim(a, start, stop, axis=_TIME), rows)

    if many > 1:
        starts = segment.start + block * jnp.arange(many, dtype=jnp.int32)
        split = jax.tree.map(
            lambda a: jnp.moveaxis(a.reshape(*a.shape[:_TIME], many, block, a.shape[-1]), _TIME, 0),
            cut(segment.start, middle),
        )
        carry, ys = lax.scan(lambda carry, x: function(carry, *x), carry, (starts, split))
        found.append(jax.tree.map(_merged, ys))
    else:
        middle = segment.start
    if middle < segment.stop or not found:
        carry, y = function(carry, middle, cut(middle, segment.stop))
        found.append(y)
    return carry, _joined(found)


def _merged(blocks: Array) -> Array:
    """(blocks, n, K, G, rows, ·) -> (n, K, G, blocks · rows, ·)."""
    count, n, heads, groups, rows, width = blocks.shape
    return jnp.moveaxis(blocks, 0, _TIME).reshape(n, heads, groups, count * rows, width)


def _over_examples(function: Callable[..., PyTree], plan: Plan, arrays: tuple[Any, ...]) -> PyTree:
    """The function of all examples, `plan.examples` at once."""
    count, some = arrays[0].shape[0], plan.examples
    if count <= some:
        return function(*arrays)
    chunks = count // some
    if partitioned():  # every device has neighbours: from each of them, one after the other
        split = jax.tree.map(lambda a: a.reshape(some, chunks, *a.shape[1:]).swapaxes(0, 1), arrays)
    else:
        split = jax.tree.map(lambda a: a.reshape(chunks, some, *a.shape[1:]), arrays)
    found = lax.map(lambda chunk: function(*chunk), split)
    if partitioned():
        found = jax.tree.map(lambda a: a.swapaxes(0, 1), found)
    return jax.tree.map(lambda a: a.reshape(count, *a.shape[2:]), found)


def _joined(pieces: list[PyTree]) -> PyTree:
    """Blocks of queries, one after another."""
    if len(pieces) == 1:
        return pieces[0]
    return jax.tree.map(lambda *parts: jnp.concatenate(parts, axis=_TIME), *pieces)


def _heads_first(a: Array) -> Array:
    """(n, S, K, D) -> (n, K, S, D), and back."""
    return a.swapaxes(1, 2)


def _grouped(q: Array, k: Array) -> Array:
    """(n, T, H, D) -> (n, K, G, T, D)."""
    heads = k.shape[2]
    return q.reshape(*q.shape[:2], heads, q.shape[2] // heads, q.shape[3]).transpose(0, 2, 3, 1, 4)


def _ungrouped(q: Array) -> Array:
    """(n, K, G, T, D) -> (n, T, H, D)."""
    n, heads, groups, time, width = q.shape
    return q.transpose(0, 3, 1, 2, 4).reshape(n, time, heads * groups, width)
