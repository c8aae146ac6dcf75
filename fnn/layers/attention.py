"""Attention of queries to keys, with a backward pass that never holds the matrix of all scores."""

import math
from typing import Any, NamedTuple

import jax.numpy as jnp

from fnn.dtypes import check_inexact, computing_dtype
from fnn.layer import Array, Layer, pure
from fnn.layers import attention_blocks as blocks
from fnn.layers.attention_lengths import (
    are_lengths,
    keys_that_count,
    or_nan,
    settled_queries,
    with_zeros,
)
from fnn.layers.lengths import check_lengths


class AttentionCache(NamedTuple):
    """The inputs, the output, and one number a query and head."""

    q: Array  # (N, T, H, D)
    k: Array  # (N, S, K, D)
    v: Array  # (N, S, K, E)
    mask: Array | None  # as it was given
    o: Array  # (N, T, H, E)
    normalizer: Array  # (N, K, H / K, T, 1), log Σ exp, at least float32


def attention(
    *, causal: bool = False, scale: float | None = None, scores_at_once: int | None = None
) -> Layer:
    """Each query's mean of the values, weighted by how well their keys fit it.

    Forward, for every example and head, with query t and keys s that count:

        a_ts = scale · q_t · k_s      Z_t = log Σ_s exp a_ts      p_ts = exp(a_ts - Z_t)
        o_t = Σ_s p_ts v_s

    and o_t = 0 where no key counts. Backward, from do = dL/do, with p computed again from Z:

        dv_s = Σ_t p_ts do_t        da_ts = p_ts (do_t · v_s - do_t · o_t)
        dq_t = scale · Σ_s da_ts k_s        dk_s = scale · Σ_t da_ts q_t

    in which do_t · o_t = Σ_s p_ts (do_t · v_s) is why o is kept. Both passes hold a block of the scores
    a at a time, so that memory grows with T + S, not T · S; causal blocks skip most keys of the future.

    Shapes: x is (q, k, v) or (q, k, v, mask) with q (N, T, H, D), k (N, S, K, D), v (N, S, K, E) and
    y (N, T, H, E). H is a multiple of K: each head of keys serves H / K neighbouring heads of queries
    (grouped-query attention). The mask is of integers (N,), how many first keys of each example count
    (lengths, from 0 to S), or of booleans, True where they do: (N, S), (N, T, S), or
    (N, 1 or H, 1 or T, S); its gradient is None. T, S and N may be 0.

    Behind its length, what k and v hold, be it NaN, is not looked at, and dk and dv are 0. Lengths are
    of keys alone: every query counts, and one that is NaN is lost in o, and in dk and dv unless its do
    is 0, as that of padding is. A mask of booleans promises less: a weight of 0 times a NaN is NaN.
    Cache: q, k, v, the mask, o and Z. Sums are taken in float32 at least.
    Source: Vaswani et al. (2017); grouped queries: Ainslie et al. (2023); blocks: Dao et al. (2022).

    Args:
      causal: whether query t sees the keys s <= t alone.
      scale: of the scores; 1 / √D by default.
      scores_at_once: about how many scores to hold, over heads and examples; by default 2¹⁹, which suits
        the caches of processors, and those of 16 queries at least.

    Raises:
      TypeError: q, k or v of integers, or a mask of floats.
      ValueError: no three or four inputs, shapes that do not fit each other, a scale that is not a
        finite number, fewer than one score at once, or a length out of range. Inside `jit`, where its
        value cannot be looked at, such an example gives NaN, and its gradients are 0.
    """
    if scale is not None and not math.isfinite(scale):
        raise ValueError(f"attention: expected a finite scale, got {scale}")
    check_scores_at_once("attention", scores_at_once)

    def forward(params: tuple[()], x: tuple[Array, ...]) -> tuple[Array, AttentionCache]:
        del params  # there are none
        q, k, v, mask = _check(x)
        o, normalizer = attend(q, k, v, mask, causal, scale, scores_at_once)
        return o, AttentionCache(q, k, v, mask, o, normalizer)

    def backward(
        params: tuple[()], cache: AttentionCache, dy: Array
    ) -> tuple[tuple[()], tuple[Array | None, ...]]:
        found = attend_backward(cache, dy, causal, scale, scores_at_once)
        return params, found if cache.mask is None else (*found, None)

    return pure("attention", forward, backward)


def attend(
    q: Array,
    k: Array,
    v: Array,
    mask: Array | None,
    causal: bool,
    scale: float | None,
    scores_at_once: int | None,
) -> tuple[Array, Array]:
    """(o, Z), as in `attention`, of inputs that were checked; o has q's dtype."""
    plan = _plan(q, k, causal, scale, scores_at_once)
    dtype = computing_dtype(q, k, v)
    which = keys_that_count(mask, k.shape[1])
    if which is not None:
        mask, k, v = which.seen, with_zeros(which, k), with_zeros(which, v)
    operands = (a.astype(dtype) for a in (q, k, v))
    o, normalizer = blocks.forward(*operands, _expanded(mask, q, k), plan)
    if which is not None:
        o = or_nan(which, o)
    return o.astype(q.dtype), normalizer


def attend_backward(
    cache: AttentionCache,
    do: Array,
    causal: bool,
    scale: float | None,
    scores_at_once: int | None,
) -> tuple[Array, Array, Array]:
    """(dq, dk, dv), each of its own dtype."""
    q, k, v, mask, o, normalizer = cache
    plan = _plan(q, k, causal, scale, scores_at_once)
    dtype = computing_dtype(q, k, v)
    which = keys_that_count(mask, k.shape[1])
    if which is not None:
        mask, k, v = which.seen, with_zeros(which, k), with_zeros(which, v)
        q, o, normalizer = settled_queries(q, o, normalizer, do)
    operands = (a.astype(dtype) for a in (q, k, v))
    o, do = o.astype(dtype), do.astype(dtype)
    dq, dk, dv = blocks.backward(*operands, _expanded(mask, q, k), o, normalizer, do, plan)
    if which is not None:
        dk, dv = with_zeros(which, dk), with_zeros(which, dv)
    return dq.astype(q.dtype), dk.astype(k.dtype), dv.astype(v.dtype)


def check_scores_at_once(name: str, scores_at_once: int | None) -> None:
    """Refuse a block of nothing."""
    if scores_at_once is not None and scores_at_once < 1:
        raise ValueError(f"{name}: expected at least one score at once, got {scores_at_once}")


def check_mask(name: str, mask: Array, examples: int, heads: int, queries: int, keys: int) -> None:
    """Refuse a mask that does not fit scores (N, H, T, S).

    Raises:
      TypeError: it is of floats.
      ValueError: its shape is none of those in `attention`, or a length is out of range.
    """
    if are_lengths(mask):
        if mask.shape != (examples,):
            raise ValueError(
                f"{name}: expected lengths of shape {(examples,)}, one an example, got {mask.shape}"
            )
        check_lengths(name, mask, keys)
        return
    if mask.dtype != jnp.bool_:
        raise TypeError(
            f"{name}: expected a mask of booleans, or of integers that are lengths, got {mask.dtype}"
        )
    fits = {
        2: mask.shape == (examples, keys),
        3: mask.shape == (examples, queries, keys),
        4: mask.shape[:1] == (examples,)
        and mask.shape[1:2] in ((1,), (heads,))
        and mask.shape[2:] in ((1, keys), (queries, keys)),
    }
    if not fits.get(mask.ndim, False):
        raise ValueError(
            f"{name}: expected a mask of shape {(examples, keys)}, {(examples, queries, keys)} or "
            f"{(examples, heads, queries, keys)}, or with 1 for the heads or the queries, "
            f"got {mask.shape}"
        )


def _check(x: Any) -> tuple[Array, Array, Array, Array | None]:
    if not isinstance(x, tuple) or len(x) not in (3, 4):
        what = f"{len(x)} of them" if isinstance(x, tuple) else type(x).__name__
        raise ValueError(f"attention: expected x to be (q, k, v) or (q, k, v, mask), got {what}")
    q, k, v = x[:3]
    mask = x[3] if len(x) == 4 else None
    for a in (q, k, v):
        check_inexact(a)
    shapes = f"got {q.shape}, {k.shape} and {v.shape}"
    if not (q.ndim == k.ndim == v.ndim == 4):
        raise ValueError(
            f"attention: expected q, k and v of shapes (N, time, heads, features), {shapes}"
        )
    if k.shape[:3] != v.shape[:3] or q.shape[0] != k.shape[0] or q.shape[3] != k.shape[3]:
        raise ValueError(
            "attention: expected q (N, T, H, D), k (N, S, K, D) and v (N, S, K, E), with one N, one S, "
            f"one K and one D, {shapes}"
        )
    if min(k.shape[2], q.shape[3], v.shape[3]) < 1 or q.shape[2] % k.shape[2] or q.shape[2] < 1:
        raise ValueError(
            "attention: expected a feature and a head at least, and a multiple of the key's heads in the "
            f"query, {shapes}"
        )
    if mask is not None:
        check_mask("attention", mask, q.shape[0], q.shape[2], q.shape[1], k.shape[1])
    return q, k, v, mask


def _plan(
    q: Array, k: Array, causal: bool, scale: float | None, scores_at_once: int | None
) -> blocks.Plan:
    factor = 1 / math.sqrt(q.shape[-1]) if scale is None else float(scale)
    return blocks.plan(q, k, causal, factor, scores_at_once)


def _expanded(mask: Array | None, q: Array, k: Array) -> Array | None:
    """The mask, of booleans, as (N, K or 1, G or 1, T or 1, S)."""
    if mask is None:
        return None
    heads = (1, 1)
    if mask.ndim == 4 and mask.shape[1] == q.shape[2]:
        heads = (k.shape[2], q.shape[2] // k.shape[2])
    queries = mask.shape[-2] if mask.ndim > 2 else 1
    return mask.reshape(mask.shape[0], *heads, queries, mask.shape[-1])
