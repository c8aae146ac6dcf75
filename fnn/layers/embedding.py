"""The embedding: a learned row for every integer."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from fnn.dtypes import accumulation_dtype, label_dtype
from fnn.initializers import Initializer, normal, zeros
from fnn.layer import Array, Key, Layer, pure
from fnn.random import child_key

UNIT_NORMAL = normal(1.0)


class EmbeddingParams(NamedTuple):
    """What an embedding learns; V ids, D features."""

    table: Array  # (V, D)


class EmbeddingCache(NamedTuple):
    """What backward needs: which row went where."""

    ids: Array  # (…) of integers, at least int32


def embedding(
    vocabulary: int,
    width: int,
    *,
    padding: int | None = None,
    table_init: Initializer = UNIT_NORMAL,
    dtype: Any = jnp.float32,
) -> Layer:
    """A row of a table for each id.

    Forward: ``y_n = table[ids_n]``, and 0 where ``ids_n = padding``. Backward, a scatter-add:

        dtable_v = Σ_{n: ids_n = v} dy_n, in float32 at least      dtable_padding = 0      dx = None

    The row of `padding` starts at 0, is read as 0 and never learns. In PyTorch's `padding_idx` it
    starts at 0 and never learns, too, but a row that somebody else wrote there is read as it is.
    An id that is not in [0, V) gives a row of NaN, and no gradient to any row: never another id's row,
    as a clamp or a count from the end would. Outside of `jit`, where ids can be looked at, it raises.

    Shapes: ids (…) of integers, table (V, D), y (…, D) of the table's dtype. Cache: the ids.
    Source: Bengio, Ducharme, Vincent, Jauvin (2003).

    Args:
      vocabulary: V, the number of ids.
      width: D, the number of features.
      padding: the id that stands for nothing.
      table_init: by default N(0, 1), so that what follows gets inputs of unit variance.
      dtype: of the table, which no integer x can tell.

    Raises:
      TypeError: x is not of integers, or the table not of a floating dtype.
      ValueError: no id or no feature; a padding that is no id; an id out of range, naming the first.
    """
    if vocabulary < 1 or width < 1:
        raise ValueError(
            "embedding: expected a vocabulary and a width of at least one, got "
            f"{vocabulary} and {width}"
        )
    if padding is not None and not 0 <= padding < vocabulary:
        raise ValueError(f"embedding: expected padding in [0, {vocabulary}), got {padding}")
    if not jnp.issubdtype(dtype, jnp.floating):
        raise TypeError(f"embedding: expected a table of a floating dtype, got {jnp.dtype(dtype)}")

    def init(key: Key, x: Array) -> EmbeddingParams:
        _check_integers(x)
        table_dtype = jax.dtypes.canonicalize_dtype(dtype)
        table = table_init(child_key(key, "table"), (vocabulary, width), table_dtype)
        if padding is not None:
            table = table.at[padding].set(zeros(None, (width,), table_dtype))
        return EmbeddingParams(table)

    def forward(params: EmbeddingParams, x: Array) -> tuple[Array, EmbeddingCache]:
        _check_integers(x)
        if params.table.shape != (vocabulary, width):
            raise ValueError(
                f"embedding: expected a table {(vocabulary, width)}, got {params.table.shape}"
            )
        _check_range(x, vocabulary)
        ids = x.astype(label_dtype(x.dtype))  # the vocabulary's size has to fit in
        rows = params.table.at[ids].get(
            mode="fill", fill_value=jnp.nan, wrap_negative_indices=False
        )
        if padding is not None:
            rows = jnp.where((ids == padding)[..., None], 0, rows)
        return rows, EmbeddingCache(ids)

    def backward(
        params: EmbeddingParams, cache: EmbeddingCache, dy: Array
    ) -> tuple[EmbeddingParams, None]:
        ids, table = cache.ids, params.table
        if padding is not None:
            ids = jnp.where(ids == padding, vocabulary, ids)  # out of range, where it is dropped
        # A scatter; a product with the one-hot ids takes five times its time at a vocabulary of 65
        # already, and fifty times at 512.
        wide = accumulation_dtype(table.dtype)
        dtable = jnp.zeros(table.shape, wide)
        dtable = dtable.at[ids].add(dy.astype(wide), mode="drop", wrap_negative_indices=False)
        return EmbeddingParams(dtable.astype(table.dtype)), None

    return pure(f"embedding({vocabulary}, {width})", forward, backward, init)


def _check_integers(x: Array) -> None:
    if not jnp.issubdtype(x.dtype, jnp.integer):
        raise TypeError(f"embedding: expected ids of integers, got {x.dtype}; convert them before")


def _check_range(ids: Array, vocabulary: int) -> None:
    """Refuse ids out of range where values can be looked at: outside of `jit`, `vmap` and `scan`."""
    if isinstance(ids, jax.core.Tracer):
        return
    with jax.ensure_compile_time_eval():  # the ids may be a constant of a traced function
        values = np.asarray(ids)
    bad = np.argwhere((values < 0) | (values >= vocabulary))
    if bad.size:
        where = tuple(int(i) for i in bad[0])
        raise ValueError(
            f"embedding: expected ids in [0, {vocabulary}), got {values[where]} at {where}"
        )
