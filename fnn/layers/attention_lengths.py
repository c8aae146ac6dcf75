"""What lengths of keys promise in attention: that it does not matter what lies behind them.

A weight of 0 alone is no such promise, as 0 · NaN is NaN: so keys and values that do not count are taken
as zeros in both passes, and so are, in backward, rows without a gradient that are not finite.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jax import lax

from fnn.layer import Array
from fnn.layers.lengths import counted


class KeysThatCount(NamedTuple):
    """What follows from lengths."""

    seen: Array  # (N, S) of bool: which keys count; none where the length means nothing
    valid: Array  # (N,) of bool: which lengths mean something


def are_lengths(mask: Array | None) -> bool:
    """Whether a mask is of integers, which are lengths."""
    return mask is not None and jnp.issubdtype(mask.dtype, jnp.integer)


def keys_that_count(mask: Array | None, keys: int) -> KeysThatCount | None:
    """The first of so many keys of each example; None where the mask is not of lengths."""
    if mask is None or not are_lengths(mask):
        return None
    lengths, valid = counted(mask, keys)
    place = lax.broadcasted_iota(lengths.dtype, (lengths.shape[0], keys), 1)
    return KeysThatCount((place < lengths[:, None]) & valid[:, None], valid)


def with_zeros(which: KeysThatCount, a: Array) -> Array:
    """Keys or values (N, S, K, ·), or their gradients, of which those that do not count are 0."""
    return jnp.where(which.seen[:, :, None, None], a, 0)


def or_nan(which: KeysThatCount, o: Array) -> Array:
    """The output (N, T, H, E), NaN where the length means nothing."""
    return jnp.where(which.valid[:, None, None, None], o, jnp.nan)


def settled_queries(q: Array, o: Array, normalizer: Array, do: Array) -> tuple[Array, Array, Array]:
    """q, o (N, T, H, ·) and Z (N, K, G, T, 1), zeros for queries that are lost but have no gradient.

    Such a query adds 0 to every gradient; with zeros for q, o and Z, the formulas of backward find so.
    """
    n, groups_of, groups, time, _ = normalizer.shape
    of_query = normalizer.reshape(n, groups_of * groups, time).swapaxes(1, 2)
    finite = jnp.isfinite(q).all(axis=-1) & jnp.isfinite(of_query)
    lost = ~finite & (do == 0).all(axis=-1)  # (N, T, H)
    q, o = (jnp.where(lost[..., None], 0, a) for a in (q, o))
    lost = lost.swapaxes(1, 2).reshape(normalizer.shape)
    return q, o, jnp.where(lost, 0, normalizer)


def settled(mask: Array | None, rows: Array, *gradients: Array) -> Array:
    """Rows (N, T, ·), as zeros where they are not finite and all their gradients (N, T, ·) are 0.

    Only where the mask is lengths: what lies behind them must not reach the sum Σ rowᵀ gradient.
    """
    if not are_lengths(mask):
        return rows
    lost = ~jnp.isfinite(rows).all(axis=-1)
    for gradient in gradients:
        lost = lost & (gradient == 0).all(axis=-1)
    return jnp.where(lost[..., None], 0, rows)
