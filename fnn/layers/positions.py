"""Positions in time, which attention by itself cannot tell apart: sinusoidal, learned, rotary."""

from typing import Any, Literal, NamedTuple, get_args

import jax.numpy as jnp
import numpy as np

from fnn.dtypes import accumulation_dtype, check_inexact, computing_dtype, parameter_dtype
from fnn.initializers import Initializer, normal
from fnn.layer import Array, Key, Layer, Static, pure
from fnn.random import child_key

SMALL_NORMAL = normal(0.02)
Pairs = Literal["neighbours", "halves"]


class DtypeCache(NamedTuple):
    """The dtype of x, no array."""

    dtype: Static[Any]


class LearnedPositionsParams(NamedTuple):
    """One row a position."""

    table: Array  # (length, D)


def sinusoidal_positions(*, base: float = 10_000.0) -> Layer:
    """A fixed pattern of waves added to x, a different one at each time t.

    Forward: ``y_t = x_t + P_t``, for the features 2i and 2i + 1 of D

        P_t,2i = sin(t · base^(-2i / D))      P_t,2i+1 = cos(t · base^(-2i / D))

    Backward: ``dx = dy``. Shapes: x and y (…, T, D). Cache: nothing but x's dtype.
    Source: Vaswani et al. (2017), section 3.5.

    Raises:
      TypeError: x is of integers.
      ValueError: the base is not above 0, or x has fewer than two axes.
    """
    _check_base("sinusoidal_positions", base)

    def forward(params: tuple[()], x: Array) -> tuple[Array, DtypeCache]:
        del params  # there are none
        _check_sequence("sinusoidal_positions", x)
        time, width = x.shape[-2:]
        pairs = -(-width // 2)
        angles = _angles(time, pairs, width, base)
        waves = np.stack([np.sin(angles), np.cos(angles)], axis=-1)
        table = waves.reshape(time, 2 * pairs)[:, :width]
        wide = accumulation_dtype(x.dtype)
        y = x.astype(wide) + jnp.broadcast_to(jnp.asarray(table, wide), x.shape)
        return y.astype(x.dtype), DtypeCache(Static(x.dtype))

    def backward(params: tuple[()], cache: DtypeCache, dy: Array) -> tuple[tuple[()], Array]:
        return params, dy.astype(cache.dtype.value)

    return pure("sinusoidal_positions", forward, backward)


def learned_positions(length: int, *, table_init: Initializer = SMALL_NORMAL) -> Layer:
    """A learned row added to x at each time t.

    Forward: ``y_t = x_t + table_t``. Backward, with sums over all axes but time and features:

        dx = dy      dtable_t = Σ dy_t, and 0 for the times t that x does not have

    Shapes: x and y (…, T, D) with T <= length, table (length, D). Cache: nothing but x's dtype.
    Source: Gehring et al. (2017).

    Raises:
      TypeError: x is of integers.
      ValueError: the length is not positive; x has fewer than two axes, is longer than the table, or
        of another width than the parameters were made for.
    """
    if length < 1:
        raise ValueError(f"learned_positions: expected a length of at least one, got {length}")

    def init(key: Key, x: Array) -> LearnedPositionsParams:
        _check_sequence("learned_positions", x)
        shape = (length, x.shape[-1])
        return LearnedPositionsParams(
            table_init(child_key(key, "table"), shape, parameter_dtype(x))
        )

    def forward(params: LearnedPositionsParams, x: Array) -> tuple[Array, DtypeCache]:
        _check_sequence("learned_positions", x)
        rows, width = params.table.shape
        if x.shape[-1] != width or x.shape[-2] > rows:
            raise ValueError(
                f"learned_positions: expected x of shape (…, T, {width}) with T <= {rows}, got {x.shape}"
            )
        dtype = computing_dtype(x, params.table)
        table = params.table[: x.shape[-2]].astype(dtype)
        y = x.astype(dtype) + jnp.broadcast_to(table, x.shape)
        return y.astype(x.dtype), DtypeCache(Static(x.dtype))

    def backward(
        params: LearnedPositionsParams, cache: DtypeCache, dy: Array
    ) -> tuple[LearnedPositionsParams, Array]:
        table = params.table
        wide = dy.astype(accumulation_dtype(computing_dtype(dy, table)))
        sums = wide.sum(axis=tuple(range(dy.ndim - 2)))
        dtable = jnp.pad(sums, ((0, table.shape[0] - dy.shape[-2]), (0, 0)))
        return LearnedPositionsParams(dtable.astype(table.dtype)), dy.astype(cache.dtype.value)

    return pure(f"learned_positions({length})", forward, backward, init)


def rotary(*, base: float = 10_000.0, pairs: Pairs = "neighbours") -> Layer:
    """Pairs of features turned by an angle that grows with time: products see differences of times.

    Forward, for the pair i of D / 2, as a point in the plane:

        y_t,i = R(t · base^(-2i / D)) x_t,i      with R(φ) = [cos φ  -sin φ; sin φ  cos φ]

    so that ``y_t · y'_s`` depends on x_t, x'_s and t - s alone. Backward, the turn back:
    ``dx_t,i = R(-t · base^(-2i / D)) dy_t,i``.
    Shapes: x and y (N, T, H, D), D even. Cache: nothing but x's dtype. Angles are computed in float64.
    Source: Su, Lu, Pan, Murtadha, Wen, Liu (2021).

    Args:
      base: the slowest pair turns by about one radian in so many steps.
      pairs: "neighbours" for the features (2i, 2i + 1), as in the paper; "halves" for (i, i + D / 2), as
        in the weights of most published language models.

    Raises:
      TypeError: x is of integers.
      ValueError: the base is not above 0, the pairs are no such name, x has not four axes, or D is odd.
    """
    check_rotation("rotary", base, pairs)

    def forward(params: tuple[()], x: Array) -> tuple[Array, DtypeCache]:
        del params  # there are none
        check_inexact(x)
        if x.ndim != 4 or x.shape[-1] < 2 or x.shape[-1] % 2:
            raise ValueError(
                f"rotary: expected x of shape (N, time, heads, features), features even, got {x.shape}"
            )
        return rotate(x, base, pairs), DtypeCache(Static(x.dtype))

    def backward(params: tuple[()], cache: DtypeCache, dy: Array) -> tuple[tuple[()], Array]:
        return params, rotate(dy.astype(cache.dtype.value), base, pairs, back=True)

    return pure("rotary", forward, backward)


def rotate(x: Array, base: float, pairs: Pairs, *, back: bool = False) -> Array:
    """x (N, T, H, D) with its pairs turned, or turned back."""
    time, width = x.shape[1], x.shape[3]
    angles = _angles(time, width // 2, width, base)[:, None]
    wide = accumulation_dtype(x.dtype)
    shape = (*x.shape[:3], width // 2)
    cos, sin = (
        jnp.broadcast_to(jnp.asarray(a, wide), shape)
        for a in (np.cos(angles), np.sin(-angles if back else angles))
    )
    neighbours = pairs == "neighbours"
    pair = x.reshape(*x.shape[:3], *((width // 2, 2) if neighbours else (2, width // 2)))
    # Each half is widened and narrowed by itself: for bfloat16 that takes 0.4 (halves) and 0.65 of the
    # time on a CPU, where XLA would write the whole x down in float32.
    first, second = ((pair[..., i] if neighbours else pair[..., i, :]).astype(wide) for i in (0, 1))
    turned = first * cos - second * sin, first * sin + second * cos
    narrow = tuple(half.astype(x.dtype) for half in turned)
    return jnp.stack(narrow, axis=-1 if neighbours else -2).reshape(x.shape)


def check_rotation(name: str, base: float, pairs: str) -> None:
    """Refuse what no angle could be made of.

    Raises:
      ValueError: the base is not above 0, or the pairs are neither kind.
    """
    _check_base(name, base)
    if pairs not in get_args(Pairs):
        raise ValueError(f"{name}: expected pairs in {get_args(Pairs)}, got {pairs!r}")


def _angles(time: int, count: int, width: int, base: float) -> np.ndarray:
    """t · base^(-2i / width) in float64, of shape (time, count)."""
    frequencies = base ** (-2 * np.arange(count) / max(width, 1))
    return np.arange(time)[:, None] * frequencies


def _check_base(name: str, base: float) -> None:
    if not 0 < base < float("inf"):
        raise ValueError(f"{name}: expected a finite base above 0, got {base}")


def _check_sequence(name: str, x: Array) -> None:
    if x.ndim < 2 or x.shape[-1] < 1:
        raise ValueError(
            f"{name}: expected x of shape (…, time, features) with a feature at least, got {x.shape}"
        )
    check_inexact(x)
