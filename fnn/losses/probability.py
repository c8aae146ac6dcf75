"""Losses of probabilities as they are: cross-entropy and the Kullback-Leibler divergence."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from fnn.dtypes import accumulation_dtype
from fnn.layer import Array, PyTree, Static, as_arrays
from fnn.losses.cross_entropy import check_scores
from fnn.losses.loss import Loss
from fnn.losses.targets import (
    as_distribution,
    as_given,
    as_labels,
    is_label,
    look,
    mass_of,
    poisoned,
)


class ProbabilityCache(NamedTuple):
    """The probabilities that count, and the target."""

    y: Array  # (…, 1), those of the labels, or (…, C), at least float32; NaN where they are none
    target: Array  # (…) of integers, at least int32, or (…, C) of probabilities
    like: Static[Any]  # shape and dtype of the prediction


class DivergenceCache(NamedTuple):
    """The target alone: the loss is linear in the prediction."""

    target: Array  # (…, C)
    dtype: Static[Any]  # of the prediction


def cross_entropy() -> Loss:
    """-log y[label] of probabilities y, or its mean over a distribution of labels.

    It is here because everyone writes it first, and it is fragile. At logits (200, 0, -200) and the last
    class as label, softmax gives a probability of exactly 0: the loss is ∞ and its gradient, -1 / 0,
    meets softmax's 0, so that dlogits is NaN. The true values are 400 and (1, 0, -1), as
    `softmax_cross_entropy` has them; take that for training. Nothing is clipped here: an ε inside of the
    logarithm would turn such an example into one that teaches nothing, without a word.

    Forward, for a label t or probabilities p: ``loss = -log y_t`` or ``loss = -Σ_c p_c · log y_c``, where
    0 · ∞ counts as 0. Backward, with g = dL/dloss and [t] the one-hot of t:

        dy = -g · [t] / y        or        dy = -g · p / y        (0 where [t] or p is 0)

    Shapes: y (…, C) of numbers in [0, 1], whose sum is not looked at, and which may exceed 1 by what
    rounding does to a softmax or to a sum of probabilities: 16 units in the last place (2e-6 in float32,
    the loss then -2e-6), or one of a narrower dtype (2⁻⁷ in bfloat16, 2⁻¹⁰ in float16);
    target (…) of integers in [0, C) or (…, C) of floats >= 0; losses (…), at least float32. Cache: the y
    that count and the target. Source: Good (1952); Hopfield (1987) for networks.

    Raises:
      ValueError: shapes that do not fit; a y below 0 or above that, which will be a logit; a target that
        is no class, or negative, or not finite. Inside `jit` such an example's loss and gradient are
        NaN, if the y is one that counts.
    """
    name = "cross_entropy"

    def forward(y: PyTree, target: PyTree) -> tuple[Array, ProbabilityCache]:
        y = check_scores(name, y, "probabilities")
        most = _one_rounded(y.dtype)
        look(
            name,
            y,
            # A NaN is no mistake of the caller's: it goes through, and the loss is NaN.
            lambda y: ~((y < 0) | (y > most)),
            "probabilities in [0, 1] (for logits there is softmax_cross_entropy; what was rounded in a "
            "narrower dtype has to come in that dtype, or divided by its sum)",
        )
        target = _as_classes(name, target, y.shape)
        wide, like = y.astype(accumulation_dtype(y.dtype)), Static((y.shape, y.dtype))
        if jnp.issubdtype(target.dtype, jnp.integer):
            own = jnp.take_along_axis(wide, target[..., None], axis=-1, mode="clip")
            own = poisoned(
                (own >= 0) & (own <= most) & is_label(target, y.shape[-1])[..., None], own
            )
            return -jnp.log(own)[..., 0], ProbabilityCache(own, target, like)
        p = mass_of(target, wide.dtype)
        # Where p is 0 the logarithm sees a 1: -log 0 · 0 would be NaN, in value or in derivative.
        seen = jnp.where(p == 0, 1, poisoned((wide >= 0) & (wide <= most), wide))
        return -(p * jnp.log(seen)).sum(axis=-1), ProbabilityCache(seen, target, like)

    def backward(cache: ProbabilityCache, dlosses: Array) -> Array:
        y, target, like = cache
        shape, dtype = like.value
        g = as_arrays(dlosses).astype(y.dtype)[..., None]
        if jnp.issubdtype(target.dtype, jnp.integer):
            slope = jnp.where(g == 0, 0, -g / y)  # what does not count may be 0, or no class
            classes = jax.lax.broadcasted_iota(target.dtype, shape, len(shape) - 1)
            counts = (classes == target[..., None]) | jnp.isnan(slope)
            return jnp.where(counts, slope, 0).astype(dtype)
        slope = -g * (mass_of(target, y.dtype) / y)
        return jnp.where(g == 0, 0, slope).astype(dtype)

    def chance(classes: int) -> tuple[PyTree, PyTree]:
        return np.full((classes, classes), 1 / classes), np.arange(classes)

    return Loss(name, forward, backward, chance)


def kl_divergence() -> Loss:
    """The Kullback-Leibler divergence from predicted log-probabilities to a target distribution.

    Forward, with the prediction ``log_y`` (a `log_softmax`, say) and the target p:

        loss = Σ_c p_c · (log p_c - log_y_c), where 0 · ∞ counts as 0

    It is the cross-entropy less the target's own entropy, so that the best loss is 0. Backward, with
    g = dL/dloss: ``dlog_y = -g · p``. On logits, `softmax_cross_entropy` has the same gradient as this
    loss after a log-softmax. Shapes: log_y and p (…, C); p >= 0 and need not sum to 1; losses (…), at
    least float32. A log_y of -∞ where p is not 0 costs ∞. Cache: p. Source: Kullback, Leibler (1951).

    Raises:
      ValueError: shapes that do not fit; a p that is negative or not finite. Inside `jit` such an
        example's loss and gradient are NaN.
    """
    name = "kl_divergence"

    def forward(log_y: PyTree, target: PyTree) -> tuple[Array, DivergenceCache]:
        log_y = check_scores(name, log_y, "log-probabilities")
        target = as_distribution(name, target, log_y.shape)
        wide = log_y.astype(accumulation_dtype(log_y.dtype))
        p = target.astype(wide.dtype)
        terms = jnp.where(p == 0, 0, p * (jnp.log(p) - wide))
        # What is negative has no logarithm and is NaN already.
        losses = jnp.where(p < np.inf, terms, jnp.nan).sum(axis=-1)
        return losses, DivergenceCache(target, Static(log_y.dtype))

    def backward(cache: DivergenceCache, dlosses: Array) -> Array:
        target, dtype = cache
        p = mass_of(target, accumulation_dtype(dtype.value))
        g = as_arrays(dlosses).astype(p.dtype)[..., None]
        return jnp.where(g == 0, 0, -g * p).astype(dtype.value)

    def chance(classes: int) -> tuple[PyTree, PyTree]:
        return np.full((classes, classes), -np.log(classes)), np.eye(classes)

    return Loss(name, forward, backward, chance)


def _one_rounded(dtype: Any) -> float:
    """What a probability of 1 may have become: sums round in float32 at least, and the result once."""
    sums = 16 * float(jnp.finfo(accumulation_dtype(dtype)).eps)
    return 1 + max(sums, float(jnp.finfo(dtype).eps))


def _as_classes(name: str, target: Any, shape: tuple[int, ...]) -> Array:
    """Labels, or probabilities over the last axis."""
    kind = as_given(name, target).dtype
    if jnp.issubdtype(kind, jnp.integer):
        return as_labels(name, target, shape[:-1], shape[-1])
    if not jnp.issubdtype(kind, jnp.floating):
        raise ValueError(f"{name}: expected integer or floating targets, got {kind}")
    return as_distribution(name, target, shape)
