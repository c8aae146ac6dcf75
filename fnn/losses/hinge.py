"""The multiclass support vector machine's loss, in its two forms."""

from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from fnn.dtypes import accumulation_dtype
from fnn.layer import Array, PyTree, as_arrays
from fnn.losses.cross_entropy import check_scores
from fnn.losses.loss import Loss
from fnn.losses.targets import as_labels, is_label, poisoned


class HingeCache(NamedTuple):
    """The scores and the labels; the margins are computed again."""

    scores: Array  # (…, C)
    target: Array  # (…) of integers, at least int32


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
    [0, C); losses (…), at least float32. Cache: the scores and the target. With one class the loss is 0.

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

    def violations(scores: Array, target: Array) -> tuple[Array, Array]:
        """The m_j that count, 0 for all others, and which class is the label."""
        wide = scores.astype(accumulation_dtype(scores.dtype))
        classes = jax.lax.broadcasted_iota(target.dtype, scores.shape, scores.ndim - 1)
        label = classes == target[..., None]
        own = jnp.where(label, wide, 0).sum(axis=-1, keepdims=True)
        # A select, not a product: a NaN or ∞ stays what it is. m <= 0 is 0 with its derivative.
        m = jnp.where(label, 0, wide - own + margin)
        if form == "max":
            first = jax.lax.stop_gradient(jnp.where(label, -jnp.inf, m)).argmax(axis=-1)
            m = jnp.where(classes == first.astype(classes.dtype)[..., None], m, 0)
        return jnp.where(m <= 0, 0, m), label

    def forward(scores: PyTree, target: PyTree) -> tuple[Array, HingeCache]:
        scores = check_scores(name, scores, "scores")
        target = as_labels(name, target, scores.shape[:-1], scores.shape[-1])
        h, _ = violations(scores, target)
        losses = (h * h if squared else h).sum(axis=-1)
        return poisoned(is_label(target, scores.shape[-1]), losses), HingeCache(scores, target)

    def backward(cache: HingeCache, dlosses: Array) -> Array:
        scores, target = cache
        h, label = violations(scores, target)
        slope = 2 * h if squared else jnp.where(h == 0, 0, jnp.where(jnp.isnan(h), h, 1))
        slope = jnp.where(label, -slope.sum(axis=-1, keepdims=True), slope)
        g = as_arrays(dlosses).astype(h.dtype)
        g = poisoned(is_label(target, scores.shape[-1]), g)
        return (g[..., None] * slope).astype(scores.dtype)

    def chance(classes: int) -> tuple[PyTree, PyTree]:
        return np.zeros((classes, classes)), np.arange(classes)

    return Loss(name, forward, backward, chance)
