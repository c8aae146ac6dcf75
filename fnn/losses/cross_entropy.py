"""Softmax and cross-entropy in one: the loss of a classifier's logits."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from fnn.dtypes import accumulation_dtype, label_dtype
from fnn.layer import Array, as_arrays
from fnn.losses.loss import Loss, is_concrete


class CrossEntropyCache(NamedTuple):
    """The logits and one number an example; the probabilities are computed again from the two."""

    logits: Array  # (…, C)
    normalizer: Array  # (…, 1), log Σ exp(logits), at least float32
    target: Array  # (…) of integers, at least int32, or (…, C) of probabilities


def softmax_cross_entropy() -> Loss:
    """-log softmax(logits)[label], or its mean over a distribution of labels.

    Forward, with Z = log Σ_c exp(logits_c), for a label t or probabilities p:

        loss = Z - logits_t        or        loss = Σ_c p_c · (Z - logits_c), where 0 · ∞ counts as 0

    Backward, with [t] the one-hot of t and g = dL/dloss:

        dlogits = g · (exp(logits - Z) - [t])        or        dlogits = g · ((Σ p) · exp(logits - Z) - p)

    Shapes: logits (…, C); target (…) of integers in [0, C), or (…, C) of floats >= 0, which need not sum
    to 1; losses (…), at least float32. Cache: the logits, Z and the target. A logit of -∞ is a class
    that cannot be; only as the label does it give ∞. Source: Bridle (1990).

    Raises:
      ValueError: shapes that do not fit; a label out of range, or a probability that is negative or
        not finite, naming the first. Inside `jit`, where values cannot be looked at, such an example's
        loss and gradient are NaN, which `train.step` stops at.
    """

    def forward(logits: Array, target: Array) -> tuple[Array, CrossEntropyCache]:
        logits, target = jnp.asarray(logits), jnp.asarray(target)
        if jnp.issubdtype(target.dtype, jnp.integer):
            target = target.astype(label_dtype(target.dtype))  # the number of classes has to fit in
        labels = _check(logits, target)
        wide = logits.astype(accumulation_dtype(logits.dtype))
        top = jax.lax.stop_gradient(wide.max(axis=-1, keepdims=True))
        shift = jnp.where(jnp.isfinite(top), top, 0)  # -∞ - -∞ would be NaN
        normalizer = jnp.log(jnp.exp(wide - shift).sum(axis=-1, keepdims=True)) + shift
        if labels:
            index = target[..., None]
            picked = jnp.take_along_axis(wide, index, axis=-1, mode="clip")
            losses = (normalizer - picked)[..., 0]
        else:
            p = target.astype(wide.dtype)
            losses = jnp.where(p == 0, 0, p * (normalizer - wide)).sum(axis=-1)
        losses = jnp.where(_valid(target, logits.shape[-1]), losses, jnp.nan)
        return losses, CrossEntropyCache(logits, normalizer, target)

    def backward(cache: CrossEntropyCache, dlosses: Array) -> Array:
        logits, normalizer, target = cache
        softmax = jnp.exp(logits.astype(normalizer.dtype) - normalizer)
        if jnp.issubdtype(target.dtype, jnp.integer):
            # A comparison fuses with what is around it; a scatter of the -1 would not.
            classes = jax.lax.broadcasted_iota(target.dtype, logits.shape, logits.ndim - 1)
            difference = softmax - (classes == target[..., None]).astype(softmax.dtype)
        else:
            p = target.astype(softmax.dtype)
            difference = p.sum(axis=-1, keepdims=True) * softmax - p
        # An invalid target poisons its own row, instead of training on some other class.
        valid = _valid(target, logits.shape[-1])
        g = jnp.where(valid, as_arrays(dlosses).astype(softmax.dtype), jnp.nan)
        return (g[..., None] * difference).astype(logits.dtype)

    return Loss("softmax_cross_entropy", forward, backward)


def _valid(target: Array, classes: int) -> Array:
    """Which examples have a target that means something."""
    if jnp.issubdtype(target.dtype, jnp.integer):
        return (target >= 0) & (target < classes)
    return ((target >= 0) & jnp.isfinite(target)).all(axis=-1)


def _check(logits: Array, target: Array) -> bool:
    """Whether the targets are integer labels, after a look at their shape and, if possible, values."""
    name = "softmax_cross_entropy"
    if logits.ndim < 1 or logits.shape[-1] < 1:
        raise ValueError(f"{name}: expected logits of shape (…, classes), got {logits.shape}")
    if not jnp.issubdtype(logits.dtype, jnp.inexact):
        raise ValueError(f"{name}: expected floating logits, got {logits.dtype}")
    classes = logits.shape[-1]
    labels = bool(jnp.issubdtype(target.dtype, jnp.integer))
    if not labels and not jnp.issubdtype(target.dtype, jnp.floating):
        raise ValueError(f"{name}: expected integer or floating targets, got {target.dtype}")
    expected = logits.shape[:-1] if labels else logits.shape
    if target.shape != expected:
        kind = "integer" if labels else "floating"
        raise ValueError(
            f"{name}: expected {kind} targets of shape {expected} for logits {logits.shape}, "
            f"got {target.shape}"
        )
    if is_concrete(target):
        with jax.ensure_compile_time_eval():  # the target may be a constant of a traced function
            bad = np.argwhere(~np.asarray(_valid(target, classes)))
        if bad.size:
            where = tuple(int(i) for i in bad[0])
            value = np.asarray(target)[where]
            wanted = f"labels in [0, {classes})" if labels else "finite probabilities >= 0"
            raise ValueError(f"{name}: expected {wanted}, got {value} at example {where}")
    return labels
