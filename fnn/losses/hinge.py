"""The multiclass support vector machine's loss, in its two forms."""

from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from fnn.dtypes import accumulation_dtype
from fnn.layer import Array, PyTree, Static, as_arrays
from fnn.losses.cross_entropy import check_scores
from fnn.losses.loss import Loss
from fnn.losses.targets import as_labels, is_label, poisoned, poisoned_cotangent


class HingeSumCache(NamedTuple):
    """What the form "sum" compares again, and what of it the label gets."""

    scores: Array  # (…, C)
    base: Array  # (…, 1), the label's score less the margin, at least float32
    total: Array  # (…, 1), Σ_j h′(m_j)
    target: Array  # (…) of integers, at least int32


class HingeMaxCache(NamedTuple):
    """The two elements an example that the form "max" pulls apart."""

    rival: Array  # (…, 1) of integers, the first of the largest of the others
    slope: Array  # (…, 1), h′ of it, at least float32
    target: Array  # (…) of integers, at least int32
    like: Static[Any]  # shape and dtype of the scores


def hinge(
    form: Literal["sum", "max"] = "sum", *, margin: float = 1.0, squared: bool = False
) -> Loss:
    """The score of the label has to exceed every other by a margin Δ; what is missing is the loss.

    Forward, with ``m_j = scores_j - scores_label + Δ`` for every other class j, and h(m) = m where m > 0,
    else 0, or its square:

        loss = Σ_{j ≠ label} h(m_j)              form "sum": Weston, Watkins (1999), and the CS231n notes
        loss = max_{j ≠ label} h(m_j)            form "max": Crammer, Singer (2001)

    Backward, with g = dL/dloss and h′(m) = 1 (squared: 2 m) where m > 0, else 0:

        dscores_j = g · h′(m_j)        dscores_label = -g · Σ_j h′(m_j)

    where in the form "max" the first of the largest m_j alone counts. Subgradient: 0 at m = 0, as
    `jax.nn.relu`; of equal maxima the first takes it. Shapes: scores (…, C); target (…) of integers in
    [0, C); losses (…), at least float32. Cache: the target, two numbers an example, and for
    the "sum" the scores. With one class the loss is 0. Source: Weston, Watkins (1999); Crammer, Singer
    (2001).

    Args:
      form: what becomes of the C - 1 classes.
      margin: Δ > 0; its size only sets the scale of the scores.
      squared: penalize a large violation more (L2-SVM: Tang, 2013).

    Raises:
      ValueError: an option that makes no sense; shapes that do not fit; a label out of range. Inside
        `jit`, where values cannot be looked at, such an example's loss and gradient are NaN.
    """
    if form not in ("sum", "max"):
        raise ValueError(f"hinge: expected form 'sum' or 'max', got {form!r}")
    if not 0 < margin < np.inf:
        raise ValueError(f"hinge: expected 0 < margin < ∞, got {margin}")
    name = f"hinge({form})"

    def slope_of(scores: Array, base: Array) -> Array:
        """h′. By comparisons, as ∞ - ∞ would be NaN; a NaN of the scores stays one."""
        if squared:
            return jnp.where(scores <= base, 0, 2 * (scores - base))
        above = jnp.where(scores > base, 1, jnp.nan).astype(base.dtype)
        return jnp.where(scores <= base, 0, above)

    def forward(scores: PyTree, target: PyTree) -> tuple[Array, HingeSumCache | HingeMaxCache]:
        scores = check_scores(name, scores, "scores")
        target = as_labels(name, target, scores.shape[:-1], scores.shape[-1])
        wide = scores.astype(accumulation_dtype(scores.dtype))
        label, number = _label(target, scores.shape)
        own = jnp.take_along_axis(wide, target[..., None], axis=-1, mode="clip")
        if form == "sum":
            base = own - margin
            missing = jnp.where(label | (wide <= base), 0, wide - base)  # by which a NaN stays one
            losses = (missing * missing if squared else missing).sum(axis=-1)
            # Summed here, where `missing` is at hand, h′ needs no array of its own in backward.
            total = (missing if squared else jnp.sign(missing)).sum(axis=-1, keepdims=True)
            total = 2 * total if squared else total
            cache: HingeSumCache | HingeMaxCache = HingeSumCache(scores, base, total, target)
        else:
            others = jax.lax.stop_gradient(jnp.where(label, -jnp.inf, wide))
            top = others.max(axis=-1, keepdims=True)
            # The first of the largest, by two reductions that vectorize as an argmax does not.
            found = (others == top) | jnp.isnan(others)
            first = jnp.where(found, number, scores.shape[-1]).min(axis=-1, keepdims=True)
            rival = jnp.take_along_axis(wide, first, axis=-1, mode="clip")
            base = own - margin
            missing = jnp.where(rival <= base, 0, rival - base)
            value, slope = missing * missing if squared else missing, slope_of(rival, base)
            alone = first == target[..., None]  # there is no other class, or it cannot be
            losses = jnp.where(alone, 0, value)[..., 0]
            like = Static((scores.shape, scores.dtype))
            cache = HingeMaxCache(first, jnp.where(alone, 0, slope), target, like)
        return poisoned(is_label(target, scores.shape[-1]), losses), cache

    def backward(cache: HingeSumCache | HingeMaxCache, dlosses: Array) -> Array:
        if isinstance(cache, HingeSumCache):
            shape, dtype = cache.scores.shape, cache.scores.dtype
            label, _ = _label(cache.target, shape)
            slope = slope_of(cache.scores.astype(cache.base.dtype), cache.base)
            total = cache.total
        else:
            shape, dtype = cache.like.value
            label, number = _label(cache.target, shape)
            slope = jnp.where(number == cache.rival, cache.slope, 0)
            total = cache.slope
        g = as_arrays(dlosses).astype(slope.dtype)[..., None]
        valid = is_label(cache.target, shape[-1])[..., None]
        # A select comes last, else XLA:CPU writes a whole array of its rows.
        own = poisoned(valid | (g == 0), -g * total)
        return jnp.where(label, own, poisoned_cotangent(valid, g) * slope).astype(dtype)

    def chance(classes: int) -> tuple[PyTree, PyTree]:
        return np.zeros((classes, classes)), np.arange(classes)

    return Loss(name, forward, backward, chance)


def _label(target: Array, shape: tuple[int, ...]) -> tuple[Array, Array]:
    """Which element is the label's, and the number of every class."""
    number = jax.lax.broadcasted_iota(target.dtype, shape, len(shape) - 1)
    return number == target[..., None], number
