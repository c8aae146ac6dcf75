"""Multi-head attention: attention between linear maps of what comes in."""

import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp

from fnn.dtypes import check_inexact, computing_dtype, parameter_dtype
from fnn.initializers import Initializer, xavier_uniform, zeros
from fnn.layer import Array, Key, Layer, PyTree, pure
from fnn.layers.attention import (
    AttentionCache,
    attend,
    attend_backward,
    check_mask,
    check_scores_at_once,
)
from fnn.layers.attention_lengths import settled
from fnn.layers.partitioned import partitioned
from fnn.layers.positions import Pairs, check_rotation, rotate
from fnn.random import child_key


class MultiHeadAttentionParams(NamedTuple):
    """Four linear maps: H heads of queries and K of keys, of d features each; inputs D and E wide.

    The key has no bias: it would add one number to all scores of a query, which cancels.
    """

    w_query: Array  # (D, H · d)
    w_key: Array  # (E, K · d)
    w_value: Array  # (E, K · d)
    w_out: Array  # (H · d, D)
    b_query: Array | None  # (H · d,), None without biases
    b_value: Array | None  # (K · d,)
    b_out: Array | None  # (D,)


class MultiHeadAttentionCache(NamedTuple):
    """The inputs, and what attention keeps: q, k, v, o and one number a query and head."""

    x: Array  # (N, T, D)
    memory: Array | None  # (N, S, E), None where x is looked at itself
    attention: AttentionCache


def multi_head_attention(
    heads: int,
    *,
    kv_heads: int | None = None,
    head_features: int | None = None,
    causal: bool = False,
    rotary_base: float | None = None,
    rotary_pairs: Pairs = "neighbours",
    bias: bool = True,
    kernel_init: Initializer = xavier_uniform,
    out_init: Initializer | None = None,
    bias_init: Initializer = zeros,
    scores_at_once: int | None = None,
) -> Layer:
    """Attention in several learned subspaces side by side, of x to itself or to a memory.

    Forward, with m = x, or the memory if there is one:

        q = x w_query + b_query      k = m w_key      v = m w_value + b_value
        o = attention(q, k, v), head by head      y = o w_out + b_out

    and with `rotary_base`, q and k are turned by their times in between (see `rotary`). Backward, with
    (dq, dk, dv) those of `attention` for do, turned back, and n over all examples and times:

        do = dy w_outᵀ      dw_out = Σ_n o_n dy_nᵀ      db_out = Σ_n dy_n
        dx = dq w_queryᵀ      dm = dk w_keyᵀ + dv w_valueᵀ, added to dx if m is x
        dw_query = Σ_n x_n dq_nᵀ      db_query = Σ_n dq_n, and so for the key and the value from m

    The key has no bias, as it would add one number to all scores of a query, which cancels.

    Shapes: x is an array (N, T, D), or a tuple: (x, mask), (x, memory), (x, memory, mask), with a memory
    (N, S, E) of floats and a mask of integers or booleans as in `attention`, whose gradient is None;
    what tokens hold behind their length, be it NaN, reaches nothing but their own rows of y, and no
    gradient of this backward if dy is 0 there (autodiff of forward has 0 · NaN). y (N, T, D). Parameters
    take the dtype of x. Cache: x, the memory, q, k, v, o and one number a query and head; no T × S matrix
    in either pass. Source: Vaswani et al. (2017); grouped queries: Ainslie et al. (2023).

    Args:
      heads: H, of queries.
      kv_heads: K, of keys and values, which divides H: each serves H / K heads of queries; H by default.
      head_features: d of each head, by default D / H.
      causal: whether time t sees the times s <= t alone.
      rotary_base: of rotary positions; None for none.
      rotary_pairs: which features they turn together.
      bias: whether the maps but the key's have one.
      kernel_init: of the matrices.
      out_init: of w_out, if it starts otherwise than the three others.
      bias_init: of the biases.
      scores_at_once: see `attention`.

    Raises:
      TypeError: x or the memory of integers, or in (x, memory, mask) a mask of floats.
      ValueError: counts that make no sense or do not divide each other; a rotation of an odd number of
        features; shapes that do not fit each other or the parameters; a length out of range. Inside
        `jit` it gives NaN, in dw_out too, which no step of training takes; dx of the example is 0.
    """
    keys = heads if kv_heads is None else kv_heads
    if heads < 1 or keys < 1 or heads % keys:
        raise ValueError(
            "multi_head_attention: expected at least one head, and a multiple of kv_heads, got "
            f"{heads} and kv_heads {keys}"
        )
    if head_features is not None and head_features < 1:
        raise ValueError(
            f"multi_head_attention: expected at least one feature a head, got {head_features}"
        )
    if rotary_base is not None:
        check_rotation("multi_head_attention", rotary_base, rotary_pairs)
    check_scores_at_once("multi_head_attention", scores_at_once)

    def init(key: Key, x: PyTree) -> MultiHeadAttentionParams:
        x, memory, _ = _parts(x)
        wide, deep = x.shape[-1], (x if memory is None else memory).shape[-1]
        if head_features is None and (wide % heads or wide < heads):
            raise ValueError(
                f"multi_head_attention: expected x of shape (N, T, features), its features a multiple of "
                f"{heads} heads, got {x.shape}; choose other heads, or head_features"
            )
        each = wide // heads if head_features is None else head_features
        if rotary_base is not None and each % 2:
            raise ValueError(
                f"multi_head_attention: expected an even number of features a head to turn, got {each}"
            )
        dtype = parameter_dtype(x)
        shapes = {
            "query": (wide, heads * each),
            "key": (deep, keys * each),
            "value": (deep, keys * each),
            "out": (heads * each, wide),
        }
        inits = [*[kernel_init] * 3, kernel_init if out_init is None else out_init]
        kernels = [
            initialize(child_key(key, f"w_{n}"), s, dtype)
            for initialize, (n, s) in zip(inits, shapes.items(), strict=True)
        ]
        biases = [
            bias_init(child_key(key, f"b_{n}"), s[1:], dtype) if bias else None
            for n, s in shapes.items()
            if n != "key"
        ]
        return MultiHeadAttentionParams(*kernels, *biases)

    def forward(
        params: MultiHeadAttentionParams, x: PyTree
    ) -> tuple[Array, MultiHeadAttentionCache]:
        x, memory, mask = _parts(x)
        _check_widths(params, heads, x, memory)
        dtype = computing_dtype(x, memory, *params)
        each = params.w_query.shape[1] // heads
        looked_at = x if memory is None else memory
        if mask is not None:
            sizes = (x.shape[0], heads, x.shape[1], looked_at.shape[1])
            check_mask("multi_head_attention", mask, *sizes)
        w, b = params[:3], (params.b_query, None, params.b_value)
        if memory is None:
            q, k, v = _mapped(x, w, b, dtype)
        else:
            (q,), (k, v) = _mapped(x, w[:1], b[:1], dtype), _mapped(memory, w[1:], b[1:], dtype)
        q, k, v = (a.reshape(*a.shape[:2], a.shape[2] // each, each) for a in (q, k, v))
        if rotary_base is not None:
            q, k = (rotate(a, rotary_base, rotary_pairs) for a in (q, k))
        o, normalizer = attend(q, k, v, mask, causal, None, scores_at_once)
        (y,) = _mapped(_flat(o), params[3:4], params[6:], dtype)
        cache = AttentionCache(q, k, v, mask, o, normalizer)
        return y.astype(x.dtype), MultiHeadAttentionCache(x, memory, cache)

    def backward(
        params: MultiHeadAttentionParams, cache: MultiHeadAttentionCache, dy: Array
    ) -> tuple[MultiHeadAttentionParams, PyTree]:
        x, memory, attended = cache
        o, mask, dy = attended.o, attended.mask, dy.astype(attended.o.dtype)
        rows = settled(mask, _flat(o), dy)
        do, dw_out, db_out = _mapped_back(rows, params[3:4], params[6:], [dy])
        do = do.reshape(o.shape)
        dq, dk, dv = attend_backward(attended, do, causal, None, scores_at_once)
        if rotary_base is not None:
            dq, dk = (rotate(a, rotary_base, rotary_pairs, back=True) for a in (dq, dk))
        dq, dk, dv = (_flat(a) for a in (dq, dk, dv))
        w, b = params[:3], (params.b_query, None, params.b_value)
        if memory is None:
            dx, dw, db = _mapped_back(settled(mask, x, dq, dk, dv), w, b, [dq, dk, dv])
            dxs: tuple[Array | None, ...] = (dx,)
        else:
            x, memory = settled(mask, x, dq), settled(mask, memory, dk, dv)
            dx, dw_query, db_query = _mapped_back(x, w[:1], b[:1], [dq])
            dmemory, dw_memory, db_memory = _mapped_back(memory, w[1:], b[1:], [dk, dv])
            dxs, dw, db = (dx, dmemory), dw_query + dw_memory, db_query + db_memory
        if mask is not None:
            dxs = (*dxs, None)
        dparams = MultiHeadAttentionParams(dw[0], dw[1], dw[2], dw_out[0], db[0], db[2], db_out[0])
        return dparams, dxs if len(dxs) > 1 else dxs[0]

    return pure(f"multi_head_attention({heads})", forward, backward, init)


def _mapped(x: Array, w: Sequence[Array], b: Sequence[Array | None], dtype: Any) -> list[Array]:
    """x w + b for several w at once: one product with all of them side by side.

    On several devices, of which each has some columns of every w, one product with each.
    """
    if len(w) > 1 and partitioned():
        return [_mapped(x, [a], [c], dtype)[0] for a, c in zip(w, b, strict=True)]
    ys = _cut(x.astype(dtype) @ _side_by_side(w, dtype), w)
    return [
        y if a is None else y + jnp.broadcast_to(a.astype(dtype), y.shape)
        for y, a in zip(ys, b, strict=True)
    ]


def _mapped_back(
    x: Array, w: Sequence[Array], b: Sequence[Array | None], dys: Sequence[Array]
) -> tuple[Array, list[Array], list[Array | None]]:
    """dx, all dw and all db of `_mapped`."""
    if len(w) > 1 and partitioned():
        each = [_mapped_back(x, [a], [c], [d]) for a, c, d in zip(w, b, dys, strict=True)]
        dxs, dws, dbs = zip(*each, strict=True)
        return sum(dxs[1:], dxs[0]), [d for (d,) in dws], [d for (d,) in dbs]
    dy = _side_by_side(dys, dys[0].dtype)
    dx = (dy @ _side_by_side(w, dy.dtype).T).astype(x.dtype)
    rows = dy.reshape(-1, dy.shape[-1])
    dw = _cut(x.astype(dy.dtype).reshape(-1, x.shape[-1]).T @ rows, w)
    return (
        dx,
        [d.astype(a.dtype) for d, a in zip(dw, w, strict=True)],
        [
            None if a is None else d.sum(axis=0).astype(a.dtype)
            for d, a in zip(_cut(rows, w), b, strict=True)
        ],
    )


def _side_by_side(arrays: Sequence[Array], dtype: Any) -> Array:
    """Several arrays, joined along the last axis."""
    if len(arrays) == 1:
        return arrays[0].astype(dtype)
    return jnp.concatenate([a.astype(dtype) for a in arrays], axis=-1)


def _cut(y: Array, like: Sequence[Array]) -> list[Array]:
    """The pieces of the last axis that are as wide as those of `like`."""
    edges = list(itertools.accumulate(a.shape[-1] for a in like))
    return jnp.split(y, edges[:-1], axis=-1)


def _flat(a: Array) -> Array:
    """(N, T, H, d) -> (N, T, H · d)."""
    return a.reshape(*a.shape[:2], a.shape[2] * a.shape[3])


def _parts(x: Any) -> tuple[Array, Array | None, Array | None]:
    """x, the memory and the mask of an input.

    Raises:
      TypeError: x or the memory is of integers.
      ValueError: no array and no tuple of one of the three forms, or not three axes each.
    """
    name, memory, mask = "multi_head_attention", None, None
    if isinstance(x, tuple):
        if not 2 <= len(x) <= 3:
            raise ValueError(
                f"{name}: expected x, (x, mask), (x, memory) or (x, memory, mask), "
                f"got a tuple of {len(x)}"
            )
        x, *others = x
        if len(others) == 2 or jnp.issubdtype(others[0].dtype, jnp.inexact):
            memory, *others = others
        mask = others[0] if others else None
    for what, a in (("x", x), ("the memory", memory)):
        if a is None:
            continue
        if a.ndim != 3 or a.shape[-1] < 1:
            raise ValueError(f"{name}: expected {what} of shape (N, time, features), got {a.shape}")
        check_inexact(a)
    if memory is not None and memory.shape[0] != x.shape[0]:
        raise ValueError(
            f"{name}: expected a memory for each of {x.shape[0]} examples, got {memory.shape}"
        )
    return x, memory, mask


def _check_widths(
    params: MultiHeadAttentionParams, heads: int, x: Array, memory: Array | None
) -> None:
    """Refuse inputs, or a number of heads, that the parameters were not made for."""
    wide, inner = params.w_query.shape
    deep = params.w_key.shape[0]
    given = (x.shape[-1], (x if memory is None else memory).shape[-1])
    if given != (wide, deep) or inner % heads:
        raise ValueError(
            f"multi_head_attention: expected {wide} features, {deep} to look at, and parameters for a "
            f"multiple of {heads} heads, got {given[0]} and {given[1]}, and {inner} columns"
        )
