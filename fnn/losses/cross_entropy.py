"""Softmax and cross-entropy in one: the loss of a classifier's logits."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from fnn.dtypes import accumulation_dtype
from fnn.layer import Array, PyTree, as_arrays
from fnn.losses.loss import Loss
from fnn.losses.targets import (
    as_distribution,
    as_given,
    as_labels,
    as_prediction,
    check_ignored,
    is_label,
    labels_that_count,
    mass_of,
    poisoned,
    poisoned_cotangent,
)


class CrossEntropyCache(NamedTuple):
    """The logits and two numbers an example, from which the probabilities are computed again.

    One number, log Σ exp(logits), would round them by 1e-3 at logits of 1e4 in float32.
    """

    logits: Array  # (…, C)
    top: Array  # (…, 1), the largest logit, or 0 where that is not finite; at least float32
    total: Array  # (…, 1), Σ exp(logits - top)
    target: Array  # (…) of integers, at least int32, or (…, C) of probabilities


def softmax_cross_entropy(
    *, smoothing: float = 0.0, class_weights: Any = None, ignore: int | None = None
) -> Loss:
    """-log softmax(logits)[label], or its mean over a distribution of labels.

    Forward, with centred logits a = logits - max logits and S = Σ_c exp(a_c), and a mass q over the
    classes that is the one-hot of a label or the probabilities p of a target, smoothed by s and weighted
    by w:

        q_c = w_c · ((1 - s) · p_c + s / C)      loss = Σ_c q_c · (log S - a_c), where 0 · ∞ counts as 0

    Backward, with g = dL/dloss; q need not sum to 1:

        dlogits = exp(a) · (g · (Σ q) / S) - g · q

    Shapes: logits (…, C); target (…) of integers in [0, C), or (…, C) of floats >= 0, which need not sum
    to 1; losses (…), at least float32. Cache: the logits, their maximum, S and the target. A logit of -∞
    is a class that cannot be; only as a label does it give ∞ (and with smoothing every class is one).
    Where all logits are -∞ there is no such distribution: that example's loss and gradient are NaN. A
    label that is ignored has a loss and a gradient of 0, whatever the logits; a plain mean over the batch
    still counts it. Source: Bridle (1990); smoothing: Szegedy, Vanhoucke, Ioffe, Shlens, Wojna (2016).

    Args:
      smoothing: the share s of every label that is given to all classes alike, in [0, 1).
      class_weights: w, C numbers >= 0, by which rare classes count more; 1 by default.
      ignore: an integer label, such as that of padding, that does not count; in range or not.

    Raises:
      ValueError: an option that makes no sense; shapes that do not fit; a label out of range, or a
        probability that is negative or not finite, naming the first. Inside `jit`, where values cannot
        be looked at, such an example's loss and gradient are NaN, which `train.step` stops at.
    """
    name = "softmax_cross_entropy"
    if not 0 <= smoothing < 1:
        raise ValueError(f"{name}: expected 0 <= smoothing < 1, got {smoothing}")
    check_ignored(name, ignore)
    weights = None if class_weights is None else as_class_weights(name, class_weights)

    def mass(target: Array, logits: Array, dtype: Any) -> Array:
        """q, in the shape of the logits."""
        if jnp.issubdtype(target.dtype, jnp.integer):
            # A comparison fuses with what is around it; a scatter of ones would not.
            classes = jax.lax.broadcasted_iota(target.dtype, logits.shape, logits.ndim - 1)
            q = (classes == target[..., None]).astype(dtype)
        else:
            q = mass_of(target, dtype)
        if smoothing:
            q = (1 - smoothing) * q + smoothing / logits.shape[-1]
        if weights is not None:
            q = q * jnp.broadcast_to(jnp.asarray(weights, dtype), q.shape)
        return q

    def forward(logits: PyTree, target: PyTree) -> tuple[Array, CrossEntropyCache]:
        logits, target = _check(name, logits, target, ignore)
        if weights is not None and weights.shape != logits.shape[-1:]:
            raise ValueError(
                f"{name}: expected {logits.shape[-1]} class weights for logits of shape "
                f"{logits.shape}, got {weights.size}"
            )
        if ignore is not None:  # not even by a NaN, of which autodiff would make 0 · NaN
            logits = jnp.where((target == ignore)[..., None], 0, logits)
        wide = logits.astype(accumulation_dtype(logits.dtype))
        top, total = centred_sum_exp(wide)
        labels = jnp.issubdtype(target.dtype, jnp.integer)
        if labels and not (smoothing and weights is not None):
            own = jnp.take_along_axis(wide, target[..., None], axis=-1, mode="clip") - top
            if smoothing:  # a second sum is cheaper than a mass for each class
                mean = (wide - top).sum(axis=-1, keepdims=True) / logits.shape[-1]
                own = (1 - smoothing) * own + smoothing * mean
            losses = (jnp.log(total) - own)[..., 0]
            if weights is not None:
                weight = jnp.take(jnp.asarray(weights, wide.dtype), target, mode="clip")
                losses = jnp.where(weight == 0, 0, weight * losses)
        else:
            q = mass(target, logits, wide.dtype)
            losses = jnp.where(q == 0, 0, q * (jnp.log(total) - (wide - top))).sum(axis=-1)
        if labels:
            losses = poisoned(is_label(target, logits.shape[-1], ignore), losses)
        if ignore is not None:
            losses = jnp.where(target == ignore, 0, losses)
        return losses, CrossEntropyCache(logits, top, total, target)

    def backward(cache: CrossEntropyCache, dlosses: Array) -> Array:
        logits, top, total, target = cache
        exponential = jnp.exp(logits.astype(top.dtype) - top)  # in one `jit`, XLA keeps forward's
        q = mass(target, logits, top.dtype)
        # An invalid target poisons its own row, instead of training on some other class.
        g = as_arrays(dlosses).astype(top.dtype)
        labels = jnp.issubdtype(target.dtype, jnp.integer)
        if labels:
            g = poisoned_cotangent(is_label(target, logits.shape[-1], ignore), g)
        if ignore is not None:
            g = jnp.where(target == ignore, 0, g)
        g = g[..., None]
        if not labels:
            q = jnp.where(g == 0, 0, q)
        all_of_it = g if labels and weights is None else g * q.sum(axis=-1, keepdims=True)
        return (exponential * (all_of_it / total) - g * q).astype(logits.dtype)

    def chance(classes: int) -> tuple[PyTree, PyTree]:
        labels = labels_that_count(classes, ignore)
        return np.zeros((labels.size, classes)), labels

    return Loss(name, forward, backward, chance)


def centred_sum_exp(x: Array) -> tuple[Array, Array]:
    """The maximum of x over the last axis, or 0 where it is not finite, and Σ exp(x - that); kept axes.

    Safe at -∞ in both modes of differentiation.
    """
    # The shift cancels, so it has no derivative: telling autodiff so keeps it exact and cheap.
    top = jax.lax.stop_gradient(x.max(axis=-1, keepdims=True))
    top = jnp.where(jnp.isfinite(top), top, 0)  # -∞ - -∞ would be NaN
    return top, jnp.exp(x - top).sum(axis=-1, keepdims=True)


def log_sum_exp(x: Array) -> Array:
    """log Σ exp(x) over the last axis, which is kept."""
    top, total = centred_sum_exp(x)
    return jnp.log(total) + top


def as_class_weights(name: str, class_weights: Any) -> np.ndarray:
    """One number >= 0 a class.

    Raises:
      ValueError: no vector of finite numbers >= 0.
    """
    weights = np.asarray(class_weights, np.float64)
    if weights.ndim != 1 or not (np.isfinite(weights) & (weights >= 0)).all():
        raise ValueError(f"{name}: expected a vector of class weights >= 0, got {class_weights}")
    return weights


def check_scores(name: str, scores: Any, what: str = "logits") -> Array:
    """Logits or scores (…, C) as a jax array.

    Raises:
      ValueError: they have no class, or are of no floating dtype.
    """
    scores = as_prediction(name, scores, what)
    if scores.ndim < 1 or scores.shape[-1] < 1:
        raise ValueError(f"{name}: expected {what} of shape (…, classes), got {scores.shape}")
    return scores


def _check(name: str, logits: Any, target: Any, ignore: int | None) -> tuple[Array, Array]:
    """Logits and target as jax arrays, after a look at their shapes and, if possible, values."""
    logits = check_scores(name, logits)
    kind = as_given(name, target).dtype
    if jnp.issubdtype(kind, jnp.integer):
        return logits, as_labels(name, target, logits.shape[:-1], logits.shape[-1], ignore)
    if not jnp.issubdtype(kind, jnp.floating):
        raise ValueError(f"{name}: expected integer or floating targets, got {kind}")
    if ignore is not None:
        raise ValueError(
            f"{name}: expected integer targets, of which {ignore} is ignored, got {kind}; where "
            "targets are probabilities, give such an example a weight of 0 in the mean"
        )
    return logits, as_distribution(name, target, logits.shape)
