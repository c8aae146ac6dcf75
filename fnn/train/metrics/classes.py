"""Of classifiers: top-k accuracy, Brier's score, likelihood, the confusion matrix and calibration.

Predictions are scores (…, C), targets integer labels (…) or probabilities of the classes (…, C), of which
the largest counts as the label.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from fnn.dtypes import label_dtype
from fnn.layer import Array
from fnn.train.metrics.streaming import Reduction, example_weights, summed, weighted
from fnn.train.options import Metric


def labels_of(target: Array) -> Array:
    """The labels (…): the target's own integers, or the classes of its largest probabilities."""
    target = jnp.asarray(target)
    labels = target if jnp.issubdtype(target.dtype, jnp.integer) else target.argmax(axis=-1)
    # An argmax of 300 classes does not fit into uint8.
    return labels.astype(label_dtype(labels.dtype))


def labels_for(target: Array, scores: Array, what: str) -> Array:
    """The labels (…), one for each prediction of the scores (…, C).

    Raises:
      ValueError: they are of another shape, of which jax would compare each with each, or probabilities
        not of the scores' shape.
    """
    target = jnp.asarray(target)
    whole = jnp.issubdtype(target.dtype, jnp.integer)
    expected = scores.shape[:-1] if whole else scores.shape
    if not scores.ndim or target.shape != expected:
        kind = "integer labels" if whole else f"probabilities, as they are {target.dtype},"
        raise ValueError(
            f"{what}: expected {kind} of shape {expected} for scores of shape {scores.shape}, got "
            f"shape {target.shape}"
        )
    return labels_of(target)


def top_k(k: int) -> Metric:
    """1 where the target's class is among the k largest scores, else 0; float (…).

    Of equal scores, that of the lower class comes first, as in `argmax`: top_k(1) is `accuracy`. A
    prediction that holds a NaN is wrong, and so is a label that is no class.

    Raises:
      ValueError: k is below 1; when called, there are fewer than k classes.
    """
    if k < 1:
        raise ValueError(f"top_k: expected k of at least 1, got {k}")

    def metric(prediction: Array, target: Array) -> Array:
        scores = jnp.asarray(prediction)
        classes = scores.shape[-1]
        if classes < k:
            raise ValueError(f"top_k: expected at least {k} classes, got {classes}")
        labels = labels_for(target, scores, "top_k")[..., None]
        valid = (labels >= 0) & (labels < classes)
        own = jnp.take_along_axis(scores, jnp.clip(labels, 0, classes - 1), axis=-1)
        lower = _classes(scores.shape, labels) < labels
        ahead = ((scores > own) | ((scores == own) & lower)).sum(axis=-1, dtype=jnp.int32)
        return ((ahead < k) & valid[..., 0] & ~jnp.isnan(scores).any(axis=-1)).astype(float)

    return metric


def negative_log_likelihood(*, probabilities: bool = False) -> Metric:
    """``-Σ_c t_c log p_c``, p = softmax of the scores, t the target; in nats, float (…).

    With `probabilities`, the predictions are p. It is NaN for a label that is no class and for a
    prediction that holds a NaN, and ∞ where p of the label is 0.
    """

    def metric(prediction: Array, target: Array) -> Array:
        scores = jnp.asarray(prediction).astype(float)
        log_p = jnp.log(scores) if probabilities else jax.nn.log_softmax(scores)
        t = _distribution(target, scores, "negative_log_likelihood")
        return -jnp.where(t == 0, jnp.zeros_like(log_p), t * log_p).sum(axis=-1)

    return metric


def brier(*, probabilities: bool = False) -> Metric:
    """``Σ_c (p_c - t_c)²``, p = softmax of the scores, t the target; in [0, 2], float (…).

    With `probabilities`, the predictions are p. It is NaN for a label that is no class and for a
    prediction that holds a NaN. Of two classes it is twice the score that takes p of one class alone.
    Source: Brier (1950).
    """

    def metric(prediction: Array, target: Array) -> Array:
        p = _probabilities(prediction, probabilities)
        return jnp.square(p - _distribution(target, p, "brier")).sum(axis=-1)

    return metric


class Confusion(NamedTuple):
    """How often, by weight, each class was taken for each."""

    counts: Array  # (C, C): row = true class, column = predicted class
    left_out: Array  # (): of predictions that hold a NaN, or labels that are no class


def confusion(classes: int) -> Reduction:
    """The confusion matrix, as a `Confusion`, counted on the device.

    The predicted class is that of the largest score, of equal ones the lowest. Whole numbers are exact up
    to 2²⁴ in each entry.

    Raises:
      ValueError: less than one class; by `update`, scores of another number of classes.
    """
    if classes < 1:
        raise ValueError(f"confusion: expected at least one class, got {classes}")

    def statistics(prediction: Array, target: Array, weights: Array | None) -> dict[str, Array]:
        scores = jnp.asarray(prediction)
        if scores.shape[-1] != classes:
            raise ValueError(
                f"confusion: expected scores of {classes} classes, got shape {scores.shape}"
            )
        labels = labels_for(target, scores, "confusion")
        counted = example_weights(labels.shape, weights)
        valid = (labels >= 0) & (labels < classes) & ~jnp.isnan(scores).any(axis=-1)
        pairs = labels.astype(jnp.int32) * classes + scores.argmax(axis=-1).astype(jnp.int32)
        cells = jnp.where(valid, pairs, classes**2)
        counts = jnp.zeros(classes**2, float).at[cells.ravel()].add(counted.ravel(), mode="drop")
        return {
            "counts": counts.reshape(classes, classes),
            "left_out": jnp.where(valid, jnp.zeros_like(counted), counted).sum(),
        }

    return summed(
        {"counts": (classes, classes), "left_out": ()},
        statistics,
        lambda sums: Confusion(sums["counts"], sums["left_out"]),
    )


class Calibration(NamedTuple):
    """How far a classifier's confidence is from how often it is right, in M bins of confidence."""

    error: Array  # (): Σ_m (n_m / Σ n) |accuracy_m - confidence_m|, the expected calibration error
    largest: Array  # (): max_m |accuracy_m - confidence_m|, over the bins that hold examples
    confidence: Array  # (M,): the mean of each bin, NaN where it is empty
    accuracy: Array  # (M,)
    examples: Array  # (M,): n_m, by weight


def calibration(bins: int = 15, *, probabilities: bool = False) -> Reduction:
    """The calibration of the predicted class, as a `Calibration`: what a reliability diagram shows.

    Confidence is the largest probability, of the softmax of the scores or, with `probabilities`, as
    predicted. Bin m of M takes confidences in ((m - 1) / M, m / M]. A prediction that holds a NaN makes
    the error NaN; one whose weight is 0 does not count. Source: Guo, Pleiss, Sun, Weinberger (2017).

    Raises:
      ValueError: less than one bin.
    """
    if bins < 1:
        raise ValueError(f"calibration: expected at least one bin, got {bins}")

    def statistics(prediction: Array, target: Array, weights: Array | None) -> dict[str, Array]:
        p = _probabilities(prediction, probabilities)
        labels = labels_for(target, p, "calibration")
        counted = example_weights(labels.shape, weights).ravel()
        confidence = p.max(axis=-1).ravel()
        right = (p.argmax(axis=-1).astype(labels.dtype) == labels).astype(float).ravel()
        edges = jnp.arange(1, bins, dtype=p.dtype) / bins
        own = (confidence[:, None] > edges[None]).sum(axis=1, dtype=jnp.int32)

        def by_bin(values: Array) -> Array:
            return jnp.zeros(bins, float).at[own].add(weighted(values, counted))

        return {
            "count": by_bin(jnp.ones_like(confidence)),
            "confidence": by_bin(confidence),
            "right": by_bin(right),
        }

    def result(sums: dict[str, Array]) -> Calibration:
        count = sums["count"]
        confidence, accuracy = sums["confidence"] / count, sums["right"] / count
        empty = count == 0
        gap = jnp.where(empty, jnp.zeros_like(count), jnp.abs(accuracy - confidence))
        return Calibration(
            (count * gap).sum() / count.sum(), gap.max(), confidence, accuracy, count
        )

    return summed(dict.fromkeys(("count", "confidence", "right"), (bins,)), statistics, result)


def _probabilities(prediction: Array, probabilities: bool) -> Array:
    scores = jnp.asarray(prediction).astype(float)
    return scores if probabilities else jax.nn.softmax(scores)


def _distribution(target: Array, scores: Array, what: str) -> Array:
    """The target as probabilities (…, C); of NaN for a label that is no class."""
    target, classes = jnp.asarray(target), scores.shape[-1]
    labels = labels_for(target, scores, what)[..., None]
    if not jnp.issubdtype(target.dtype, jnp.integer):
        return target.astype(float)
    hot = (labels == _classes(scores.shape, labels)).astype(float)
    valid = (labels >= 0) & (labels < classes)
    return jnp.where(valid, hot, jnp.full_like(hot, jnp.nan))


def _classes(shape: tuple[int, ...], labels: Array) -> Array:
    """The class of every score, (…, C), in the labels' dtype."""
    return jax.lax.broadcasted_iota(labels.dtype, shape, len(shape) - 1)
