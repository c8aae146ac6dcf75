"""DropConnect: a linear layer whose weights are dropped, and its moment-matched inference."""

import functools
import math
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from fnn.dtypes import accumulation_dtype, check_inexact, computing_dtype, parameter_dtype
from fnn.initializers import Initializer, he_normal, zeros
from fnn.layer import Array, Key, Layer, PyTree, as_arrays
from fnn.layers.linear import LinearParams
from fnn.layers.noise_draws import checked_key, checked_rate, kept, share_kept
from fnn.random import child_key

Activation = Literal["linear", "relu"]
Mask = Literal["example", "batch"]

# Weights that are masked at a time, where each example has a mask of its own.
_MOST_MASKED = 1 << 20


class DropConnectCache(NamedTuple):
    """The input, the key that the mask is drawn again from, and which units of a relu passed."""

    x: Array  # (…, D)
    key: Array  # one key
    passed: Array | None  # (…, F), bool; None without a relu


def dropconnect(
    features: int,
    rate: float,
    *,
    activation: Activation = "linear",
    mask: Mask = "example",
    bias: bool = True,
    kernel_init: Initializer = he_normal,
    bias_init: Initializer = zeros,
) -> Layer:
    """A linear layer, each of whose weights is dropped with probability `rate`.

    Forward, with each element of m and m' 1 with probability ``p = 1 - rate``:
    ``u = x (m ∘ w) / p + (m' ∘ b) / p`` and ``y = a(u)``; u's mean is that of `linear`. Backward, with
    ``du = a'(u) dy``, n over examples, and the same masks:

        dx_n = du_n (m_n ∘ w)ᵀ / p      dw = Σ_n m_n ∘ (x_nᵀ du_n) / p      db = Σ_n m'_n ∘ du_n / p

    `predict` does not draw: over the masks u is nearly normal, with mean ``μ = x w + b`` and variance
    ``σ² = (1 - p) / p · (x² w² + b²)``, and y is the mean of a(u) under that normal: μ if a is linear,
    where that is exact, and ``μ Φ(μ/σ) + σ φ(μ/σ)`` if it is relu. (The source draws from that normal; a
    relu after the layer, instead of in it, would be given μ alone.) p is taken to the nearest multiple
    of 2⁻¹⁶.

    Subgradient of relu: 0 at 0. Shapes: x (…, D), w (D, features), b (features,), y (…, features). Cache:
    x, the key, and one byte for each unit of a relu; masks are drawn again.
    Source: Wan, Zeiler, Zhang, LeCun, Fergus (2013), whose weights are these over p.

    Args:
      features: the width of y.
      rate: the fraction of weights, and of biases, that are dropped.
      activation: a; it belongs to the layer, because `predict` takes a mean through it.
      mask: "example" draws masks for every row of x, as the source does: as much work as drawing N D F
        truth values, in blocks, so that memory is bounded. "batch" draws one for all.
      bias: whether there is one.
      kernel_init: draws w.
      bias_init: draws b.

    Raises:
      TypeError: x is of integers.
      ValueError: a setting is out of range, x has another width than the parameters were made for, or
        `forward` gets no key.
    """
    if features < 1:
        raise ValueError(f"dropconnect: expected at least one feature, got {features}")
    checked_rate(rate, "dropconnect")
    if activation not in ("linear", "relu"):
        raise ValueError(
            f'dropconnect: expected activation "linear" or "relu", got {activation!r}; with another one, '
            "let it follow the layer"
        )
    if mask not in ("example", "batch"):
        raise ValueError(f'dropconnect: expected mask "example" or "batch", got {mask!r}')
    name = f"dropconnect({features}, {rate})"
    keep, p = 1 - rate, share_kept(1 - rate)
    linear, transpose = (
        (_shared, _shared_transpose) if mask == "batch" else (_single, _single_transpose)
    )

    def init(key: Key, x: Array) -> tuple[LinearParams, tuple[()]]:
        if x.ndim < 1 or x.shape[-1] < 1:
            raise ValueError(
                f"{name}: expected x of shape (…, features) with a feature at least, got {x.shape}"
            )
        dtype = parameter_dtype(x)
        w = kernel_init(child_key(key, "w"), (x.shape[-1], features), dtype)
        b = bias_init(child_key(key, "b"), (features,), dtype) if bias else None
        return LinearParams(w, b), ()

    def scaled(params: LinearParams, x: Array) -> tuple[Array, LinearParams]:
        """x and the parameters over p in the dtype that they meet in, x as rows."""
        inputs = params.w.shape[0]
        if x.ndim < 1 or x.shape[-1] != inputs:
            raise ValueError(f"{name}: expected x of shape (…, {inputs}), got {x.shape}")
        check_inexact(x)
        dtype = computing_dtype(x, *params)
        if mask == "example":  # no matrix product, whose sums would be taken in float32 anyway
            dtype = accumulation_dtype(dtype)
        rows = x.reshape(math.prod(x.shape[:-1]), inputs).astype(dtype)
        return rows, jax.tree.map(lambda leaf: leaf.astype(dtype) * (1 / p), params)

    def forward(
        params: LinearParams, state: PyTree, x: Array, key: Key
    ) -> tuple[Array, PyTree, DropConnectCache]:
        key, x = checked_key(key, name, "the mask"), as_arrays(x)
        rows, over_p = scaled(params, x)
        u = linear(key, keep, over_p, rows).reshape(*x.shape[:-1], features).astype(x.dtype)
        if activation == "linear":
            return u, state, DropConnectCache(x, key, None)
        passed = ~(u <= 0)  # so written that a NaN passes, instead of turning into a healthy 0
        return jnp.where(passed, u, 0), state, DropConnectCache(x, key, passed)

    def backward(
        params: LinearParams, cache: DropConnectCache, dy: Array
    ) -> tuple[LinearParams, Array]:
        rows, over_p = scaled(params, cache.x)
        dy = as_arrays(dy)
        if cache.passed is not None:
            dy = jnp.where(cache.passed, dy, 0)
        du = dy.reshape(rows.shape[0], features).astype(rows.dtype)
        dw, db, dx = transpose(cache.key, keep, over_p, rows, du)
        dparams = LinearParams(
            (dw * (1 / p)).astype(params.w.dtype),
            None if params.b is None or db is None else (db * (1 / p)).astype(params.b.dtype),
        )
        return dparams, dx.reshape(cache.x.shape).astype(cache.x.dtype)

    def predict(params: LinearParams, state: PyTree, x: Array) -> Array:
        del state  # there is none
        x = as_arrays(x)
        rows, over_p = scaled(params, x)
        w, b = jax.tree.map(lambda leaf: leaf * p, over_p)
        y = rows @ w if b is None else rows @ w + jnp.broadcast_to(b, (rows.shape[0], features))
        if activation == "relu":
            variance = rows**2 @ w**2
            if b is not None:
                variance = variance + jnp.broadcast_to(b**2, variance.shape)
            y = _mean_of_relu(y, (1 - p) / p * variance)
        return y.reshape(*x.shape[:-1], features).astype(x.dtype)

    return Layer(name, init, forward, backward, predict)


def _mean_of_relu(mean: Array, variance: Array) -> Array:
    """Of max(u, 0) with a normal u; with no variance it is that of the mean."""
    spread = variance > 0
    stddev = jnp.sqrt(jnp.where(spread, variance, 1))
    z = mean / stddev
    density = jnp.exp(-z * z / 2) / math.sqrt(2 * math.pi)
    smooth = mean * jax.scipy.stats.norm.cdf(z) + stddev * density
    return jnp.where(spread, smooth, jnp.where(mean <= 0, 0, mean))


def _masked(key: Array, keep: float, params: LinearParams) -> LinearParams:
    """The parameters, those that are dropped as 0; a bias is the weight of an input that is 1."""
    w, b = params
    inputs, features = w.shape
    mask = kept(key, keep, (inputs + (b is not None), features))
    masked_b = None if b is None else jnp.where(mask[inputs], b, 0)
    return LinearParams(jnp.where(mask[:inputs], w, 0), masked_b)


def _shared(key: Array, keep: float, params: LinearParams, x: Array) -> Array:
    """x (R, D) -> (R, F), with one mask for all rows."""
    w, b = _masked(key, keep, params)
    y = x @ w
    return y if b is None else y + jnp.broadcast_to(b, y.shape)


def _shared_transpose(
    key: Array, keep: float, params: LinearParams, x: Array, du: Array
) -> tuple[Array, Array | None, Array]:
    """(dw, db, dx) of `_shared`."""
    w, _ = _masked(key, keep, params)
    db = None if params.b is None else du.sum(axis=0)
    return *_masked(key, keep, LinearParams(x.T @ du, db)), du @ w.T


def _single(key: Array, keep: float, params: LinearParams, x: Array) -> Array:
    """x (R, D) -> (R, F), with a mask for every row."""

    def block(_: None, rows: tuple[Array, Array]) -> tuple[None, Array]:
        return None, jax.vmap(functools.partial(_row, params, keep))(*rows)

    rows, whole = _blocks((_row_keys(key, x), x), params.w)
    y = lax.scan(block, None, rows)[1]
    return y.reshape(whole, y.shape[-1])[: x.shape[0]]


def _single_transpose(
    key: Array, keep: float, params: LinearParams, x: Array, du: Array
) -> tuple[Array, Array | None, Array]:
    """(dw, db, dx) of `_single`; a row's mask is drawn once more, for all three."""

    def row(key: Array, x: Array, du: Array) -> tuple[LinearParams, Array]:
        outer = x[:, None] * jnp.broadcast_to(du, (x.shape[0], *du.shape))
        masked = _masked(key, keep, LinearParams(outer, None if params.b is None else du))
        return masked, _masked(key, keep, params).w @ du

    def block(total: LinearParams, rows: tuple[Array, Array, Array]) -> tuple[LinearParams, Array]:
        dparams, dx = jax.vmap(row)(*rows)
        return jax.tree.map(lambda t, d: t + d.sum(axis=0), total, dparams), dx

    rows, whole = _blocks((_row_keys(key, x), x, du), params.w)
    (dw, db), dx = lax.scan(block, jax.tree.map(jnp.zeros_like, params), rows)
    return dw, db, dx.reshape(whole, x.shape[1])[: x.shape[0]]


def _row(params: LinearParams, keep: float, key: Array, x: Array) -> Array:
    w, b = _masked(key, keep, params)
    return x @ w if b is None else x @ w + b


def _row_keys(key: Array, x: Array) -> Array:
    return jax.vmap(functools.partial(jax.random.fold_in, key))(jnp.arange(x.shape[0]))


def _blocks(rows: PyTree, w: Array) -> tuple[PyTree, int]:
    """Rows (R, …) as blocks (K, B, …), of which the last is filled up with zeros; and K B."""
    count = jax.tree.leaves(rows)[0].shape[0]
    size = max(1, min(count, _MOST_MASKED // w.size))
    missing = -count % size

    def split(leaf: Array) -> Array:
        if missing:  # a key cannot be 0, but then what it masks is
            number = jnp.issubdtype(leaf.dtype, jnp.inexact)
            more = jnp.zeros_like(leaf[:missing]) if number else leaf[:missing]
            leaf = jnp.concatenate([leaf, more])
        return leaf.reshape((count + missing) // size, size, *leaf.shape[1:])

    return jax.tree.map(split, rows), count + missing
