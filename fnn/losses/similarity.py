"""Losses that compare vectors: cosine distance, triplets, and the pairs of a whole batch."""

from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from fnn.dtypes import accumulation_dtype
from fnn.layer import Array, PyTree, Static, as_arrays
from fnn.losses.cross_entropy import log_sum_exp
from fnn.losses.loss import Loss
from fnn.losses.targets import as_numbers, as_prediction, no_target


class CosineCache(NamedTuple):
    """The two vectors and three numbers an example."""

    x: Array  # (…, D), the prediction
    target: Array  # (…, D)
    # Without a last axis of 1, by which XLA:CPU's sums take half as long again.
    cosine: Array  # (…), at least float32
    x_scale: Array  # (…), 1 / ‖x‖, or 0 for a vector of zeros
    target_scale: Array  # (…)


class TripletCache(NamedTuple):
    """The prediction, and whether each example's margin is violated."""

    prediction: tuple[Array, Array, Array]  # anchor, positive, negative: (N, D) each
    losses: Array  # (N,), at least float32


class PairsCache(NamedTuple):
    """The unit vectors and one number each; the similarities of all pairs are computed again."""

    units: Array  # (2 N, D), first all of a, then all of b; at least float32
    lengths: Array  # (2 N, 1)
    normalizers: Array  # (2 N, 1), log Σ exp(similarity / temperature) over the others
    dtypes: Static[Any]  # of a and b


def cosine_distance() -> Loss:
    """1 - the cosine of the angle between a prediction and its target, in [0, 2].

    Forward, with x̂ = x / ‖x‖ and t̂ = t / ‖t‖: ``loss = 1 - x̂ · t̂``. Backward, with g = dL/dloss:

        dx = -g · (t̂ - (x̂ · t̂) x̂) / ‖x‖

    which is at a right angle to x. A vector of zeros has no direction: its loss is 1, as if the angle
    were a right one, and its gradient 0. So is one whose squares vanish, below 1e-19 in float32; one
    whose squares overflow gives NaN. Shapes: x and t (…, D), losses (…), at least float32. Cache: x, t,
    the cosine and 1 / ‖x‖, 1 / ‖t‖. Source: Salton, Wong, Yang (1975).

    Raises:
      ValueError: a target of another shape; no axis; one of the two is of no floating dtype.
    """
    name = "cosine_distance"

    def forward(prediction: PyTree, target: PyTree) -> tuple[Array, CosineCache]:
        x = _vectors(name, prediction, "prediction")
        t = as_numbers(name, target, x.shape)
        wide = accumulation_dtype(x.dtype)
        u, v = x.astype(wide), t.astype(wide)
        x_scale, t_scale = _inverse_length(u), _inverse_length(v)
        cosine = (u * v).sum(axis=-1) * x_scale * t_scale
        return 1 - cosine, CosineCache(x, t, cosine, x_scale, t_scale)

    def backward(cache: CosineCache, dlosses: Array) -> Array:
        x, t, cosine, x_scale, t_scale = cache
        g = as_arrays(dlosses).astype(cosine.dtype) * x_scale
        along, across = (g * cosine * x_scale)[..., None], (g * t_scale)[..., None]
        dx = along * x.astype(cosine.dtype) - across * t.astype(cosine.dtype)
        return dx.astype(x.dtype)

    return Loss(name, forward, backward)


def triplet(margin: float = 0.2, *, distance: Literal["squared", "euclidean"] = "squared") -> Loss:
    """An anchor a is to be nearer to its positive p than to its negative n, by a margin.

    Forward: ``loss = max(0, d(a, p) - d(a, n) + margin)`` with ``d(u, v) = ‖u - v‖²``, or ``‖u - v‖``
    for "euclidean". Backward, where the loss is above 0, with g = dL/dloss and u(v) = 2 v ("euclidean":
    v / ‖v‖):

        da = g · (u(a - p) - u(a - n))        dp = -g · u(a - p)        dn = g · u(a - n)

    Subgradient: 0 at a loss of exactly 0, and u(0) = 0 at a distance of 0. Shapes: the prediction is a
    tuple (a, p, n) of (N, D) each, the target (); losses (N,), at least float32. Cache: a, p, n and the
    losses. Source: Schroff, Kalenichenko, Philbin (2015), whose distance is the squared one and whose
    vectors have length 1; Weinberger, Saul (2009).

    Raises:
      ValueError: an option that makes no sense; no tuple of three; shapes that differ; a target.
    """
    name = "triplet"
    if not 0 <= margin < np.inf:
        raise ValueError(f"{name}: expected 0 <= margin < ∞, got {margin}")
    if distance not in ("squared", "euclidean"):
        raise ValueError(f"{name}: expected distance 'squared' or 'euclidean', got {distance!r}")

    def measure(v: Array) -> Array:
        if distance == "squared":
            return (v * v).sum(axis=-1)
        return (_unit(v)[0] * v).sum(axis=-1)

    def slope(v: Array) -> Array:
        return 2 * v if distance == "squared" else _unit(v)[0]

    def forward(prediction: PyTree, target: PyTree) -> tuple[Array, TripletCache]:
        a, p, n = _same_vectors(name, prediction, ("anchor", "positive", "negative"))
        no_target(name, target)
        wide = accumulation_dtype(a.dtype)
        anchor = a.astype(wide)
        losses = measure(anchor - p.astype(wide)) - measure(anchor - n.astype(wide)) + margin
        losses = jnp.where(losses <= 0, 0, losses)  # so written that a NaN passes
        return losses, TripletCache((a, p, n), losses)

    def backward(cache: TripletCache, dlosses: Array) -> tuple[Array, Array, Array]:
        (a, p, n), losses = cache
        anchor = a.astype(losses.dtype)
        g = jnp.where(losses == 0, 0, as_arrays(dlosses).astype(losses.dtype))[:, None]
        near = g * slope(anchor - p.astype(losses.dtype))
        far = g * slope(anchor - n.astype(losses.dtype))
        return (near - far).astype(a.dtype), (-near).astype(p.dtype), far.astype(n.dtype)

    return Loss(f"{name}({distance})", forward, backward)


def nt_xent(temperature: float = 0.5) -> Loss:
    """The normalized, temperature-scaled cross-entropy of SimCLR: find your partner in the batch.

    Two views of the same N things are the rows of a and b. Forward, with the 2 N rows of both divided by
    their lengths, z, and their similarities ``s_ij = z_i · z_j / τ``:

        l_i = log Σ_{j ≠ i} exp(s_ij) - s_{i, partner of i}        loss_n = (l_{a_n} + l_{b_n}) / 2

    so that the mean over the batch is that of Chen et al. An example's loss depends on all others, so the
    batch is part of what is trained. Backward, with g = dL/dloss, P the softmax over j ≠ i of s_ij, and E
    the matrix of partners:

        dS = diag(g / 2) (P - E)        dz = (dS + dSᵀ) z / τ        then through the division by lengths

    A vector of zeros has no direction: all its similarities are 0, and its gradient. With N = 1 the
    partner is the only choice and the loss 0. Shapes: the prediction is a tuple (a, b) of (N, D) each,
    the target (); losses (N,), at least float32. Cache: z, the lengths and 2 N normalizers; the
    similarities are computed again. Source: Sohn (2016); Chen, Kornblith, Norouzi, Hinton (2020).

    Raises:
      ValueError: a temperature that is not above 0 and finite; no tuple of two; shapes that differ; a
        target.
    """
    name = "nt_xent"
    if not 0 < temperature < np.inf:
        raise ValueError(f"{name}: expected 0 < temperature < ∞, got {temperature}")

    def similarities(units: Array) -> Array:
        """Of all 2 N rows with each other; -∞ with itself."""
        scores = units @ units.T / temperature
        itself = jnp.eye(units.shape[0], dtype=bool)
        return jnp.where(itself, -jnp.inf, scores)

    def partners(rows: Array) -> Array:
        """The other view of each row."""
        return jnp.roll(rows, rows.shape[0] // 2, axis=0)

    def forward(prediction: PyTree, target: PyTree) -> tuple[Array, PairsCache]:
        a, b = _same_vectors(name, prediction, ("first view", "second view"))
        no_target(name, target)
        wide = accumulation_dtype(a.dtype)
        units, lengths = _unit(jnp.concatenate([a.astype(wide), b.astype(wide)]))
        # A maximum over no rows at all would raise.
        normalizers = log_sum_exp(similarities(units)) if a.shape[0] else jnp.zeros((0, 1), wide)
        losses = normalizers[:, 0] - (units * partners(units)).sum(axis=-1) / temperature
        dtypes = Static((a.dtype, b.dtype))
        return losses.reshape(2, -1).mean(axis=0), PairsCache(units, lengths, normalizers, dtypes)

    def backward(cache: PairsCache, dlosses: Array) -> tuple[Array, Array]:
        units, lengths, normalizers, dtypes = cache
        g = jnp.tile(0.5 * as_arrays(dlosses).astype(units.dtype), 2)[:, None]
        # S is symmetric, so that dSᵀ needs no transpose: a second exponential, and one product of
        # matrices instead of two, which is 0.6 of the time.
        scores = similarities(units)
        both = g * jnp.exp(scores - normalizers) + g.T * jnp.exp(scores - normalizers.T)
        dunits = both @ units
        # The matrix E: a row's own loss pulls at its partner, its partner's at it, with the same g.
        dunits = (dunits - 2 * g * partners(units)) / temperature
        da, db = jnp.split(_unit_backward(units, lengths, dunits), 2)
        return da.astype(dtypes.value[0]), db.astype(dtypes.value[1])

    return Loss(f"{name}({temperature})", forward, backward)


def _inverse_length(x: Array) -> Array:
    """1 / ‖x‖ over the last axis, which goes; 0 for a vector of zeros, NaN where the squares overflow."""
    squares = (x * x).sum(axis=-1)
    zero = squares == 0
    inverse = jnp.where(zero, 0, jax.lax.rsqrt(jnp.where(zero, 1, squares)))
    return jnp.where(squares == jnp.inf, jnp.nan, inverse)


def _unit(x: Array) -> tuple[Array, Array]:
    """x / ‖x‖ and ‖x‖ over the last axis; 0 and 0 for a vector of zeros."""
    size = jax.lax.stop_gradient(jnp.abs(x).max(axis=-1, keepdims=True, initial=0))
    scale = jnp.where(size == 0, 1, size)
    x = x / scale  # the scale cancels in what comes, and so has no derivative
    squares = (x * x).sum(axis=-1, keepdims=True)
    zero = squares == 0
    length = jnp.where(zero, 0, jnp.sqrt(jnp.where(zero, 1, squares)))
    unit = jnp.where(zero, 0, x / jnp.where(zero, 1, length))
    return unit, length * scale


def _unit_backward(unit: Array, length: Array, dunit: Array) -> Array:
    """The gradient of x from that of x / ‖x‖: what is at a right angle to x, over ‖x‖."""
    across = dunit - (dunit * unit).sum(axis=-1, keepdims=True) * unit
    zero = length == 0
    return jnp.where(zero, 0, across / jnp.where(zero, 1, length))


def _vectors(name: str, x: Any, what: str) -> Array:
    x = as_prediction(name, x, what)
    if x.ndim < 1:
        raise ValueError(f"{name}: expected a {what} of shape (…, features), got ()")
    return x


def _same_vectors(name: str, prediction: PyTree, parts: tuple[str, ...]) -> list[Array]:
    """The parts of a prediction, each (N, D)."""
    if not isinstance(prediction, tuple | list) or len(prediction) != len(parts):
        raise ValueError(
            f"{name}: expected a prediction ({', '.join(parts)}), got {type(prediction).__name__}"
            + (f" of {len(prediction)}" if isinstance(prediction, tuple | list) else "")
        )
    arrays = [as_prediction(name, x, part) for x, part in zip(prediction, parts, strict=True)]
    shapes = [a.shape for a in arrays]
    if arrays[0].ndim != 2 or len(set(shapes)) > 1:
        raise ValueError(f"{name}: expected {len(parts)} arrays (N, D) of one shape, got {shapes}")
    return arrays
