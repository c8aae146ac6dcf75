"""Losses of yes and no: binary cross-entropy on logits, and the focal losses."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from fnn.dtypes import accumulation_dtype
from fnn.layer import Array, PyTree, as_arrays
from fnn.losses.cross_entropy import centred_sum_exp, check_scores
from fnn.losses.loss import Loss
from fnn.losses.regression import Reduction
from fnn.losses.targets import (
    as_fractions,
    as_labels,
    as_prediction,
    is_fraction,
    is_label,
    poisoned,
    poisoned_cotangent,
)


class LogisticCache(NamedTuple):
    """The logits and the targets."""

    logits: Array  # (N, …)
    target: Array  # (N, …)


class FocalCache(NamedTuple):
    """The logits and three numbers an example."""

    logits: Array  # (…, C)
    margin: Array  # (…, 1), m of the formula; at least float32
    top: Array  # (…, 1), the largest logit of the other classes, or 0 where that is not finite
    total: Array  # (…, 1), Σ exp(logits - top) over the other classes
    target: Array  # (…) of integers, at least int32


def binary_logistic(*, positive_weight: float = 1.0, reduction: Reduction = "sum") -> Loss:
    """Cross-entropy of a yes or no, on its logit: ``-log σ(z)`` for a yes, ``-log σ(-z)`` for a no.

    Forward, for logits z, targets t in [0, 1], σ(z) = 1 / (1 + exp(-z)) and the weight w of a yes:

        loss = c · Σ w · t · softplus(-z) + (1 - t) · softplus(z), where 0 · ∞ counts as 0

    Backward, with g = dL/dloss: ``dz = c · g · ((1 - t) · σ(z) - w · t · σ(-z))``. Both probabilities are
    computed: 1 - σ(z) would round a confident logit's gradient away. The sum is over all axes but the
    first: several labels of one example are independent of each other. The factor c is 1 for "sum" and
    one over the number of terms for "mean". Shapes: z and t (N, …), losses (N,), at least float32; t of
    floats, truth values or the integers 0 and 1. Cache: z and t. Source: Cox (1958).

    Raises:
      ValueError: a weight that is not above 0 and finite; an unknown reduction; shapes that do not fit;
        a target outside [0, 1]. Inside `jit` such an example's loss and its gradient there are NaN.
    """
    name = "binary_logistic"
    if not 0 < positive_weight < np.inf:
        raise ValueError(f"{name}: expected 0 < positive_weight < ∞, got {positive_weight}")

    def value(z: Array, t: Array) -> Array:
        yes = jnp.where(t == 0, 0, positive_weight * t * jax.nn.softplus(-z))
        return yes + jnp.where(t == 1, 0, (1 - t) * jax.nn.softplus(z))

    def slope(z: Array, t: Array) -> Array:
        return (1 - t) * jax.nn.sigmoid(z) - positive_weight * t * jax.nn.sigmoid(-z)

    return _binary(name, reduction, value, slope)


def binary_focal(
    gamma: float = 2.0, *, alpha: float | None = None, reduction: Reduction = "sum"
) -> Loss:
    """Binary cross-entropy that forgets what is already right: each term times its (1 - probability)^γ.

    Forward, for logits z, targets t in [0, 1] and σ(z) = 1 / (1 + exp(-z)):

        f(z) = σ(-z)^γ · softplus(-z)      loss = c · Σ α · t · f(z) + (1 - α) · (1 - t) · f(-z)

    Backward, with g = dL/dloss:

        f′(z) = -σ(-z)^γ · (γ · σ(z) · softplus(-z) + σ(-z))
        dz = c · g · (α · t · f′(z) - (1 - α) · (1 - t) · f′(-z))

    Without α both sides count 1, and γ = 0 is then `binary_logistic`; a t between 0 and 1 is the mean
    over a yes and a no. At an infinite loss, z = -∞ for a yes, the gradient is that of the limit, -1 (or
    -α). The sum is over all axes but the first; c is 1 for "sum" and one over the number of terms for
    "mean".
    Shapes: z and t (N, …), losses (N,), at least float32. Cache: z and t.
    Source: Lin, Goyal, Girshick, He, Dollár (2017).

    Raises:
      ValueError: γ is negative or not finite, α not in [0, 1]; an unknown reduction; shapes that do not
        fit; a target outside [0, 1]. Inside `jit` such an example's loss and its gradient there are NaN.
    """
    name = f"binary_focal({gamma})"
    _check_gamma(name, gamma)
    if alpha is not None and not 0 <= alpha <= 1:
        raise ValueError(f"{name}: expected alpha in [0, 1] or None, got {alpha}")
    yes, no = (1.0, 1.0) if alpha is None else (alpha, 1 - alpha)

    def value(z: Array, t: Array) -> Array:
        p, q = yes * t, no * (1 - t)
        plus, minus = jax.nn.softplus(z), jax.nn.softplus(-z)
        # Where a side does not count, its factor is no ∞: autodiff's 0 · ∞ would be NaN.
        positive = p * _power(plus, gamma) * jnp.where(p == 0, 0, minus)
        return positive + q * _power(minus, gamma) * jnp.where(q == 0, 0, plus)

    def slope(z: Array, t: Array) -> Array:
        plus, minus = jax.nn.softplus(z), jax.nn.softplus(-z)
        positive = yes * t * _slope(plus, minus, gamma)
        return positive - no * (1 - t) * _slope(minus, plus, gamma)

    return _binary(name, reduction, value, slope)


def softmax_focal(gamma: float = 2.0) -> Loss:
    """Softmax cross-entropy times (1 - probability of the label)^γ.

    Forward, with the logit m of the label against all others together and f of `binary_focal`, so that a
    probability near 1 is never subtracted from 1:

        m = logits_label - log Σ_{j ≠ label} exp(logits_j)
        loss = f(m) = (1 - softmax_label)^γ · -log softmax_label

    Backward, with g = dL/dloss and r the softmax over the other classes:

        dlogits_label = g · f′(m)        dlogits_j = -g · f′(m) · r_j

    Shapes: logits (…, C) with two classes at least; target (…) of integers in [0, C); losses (…), at
    least float32. Cache: the logits, m, the largest other logit, its sum of exponentials and the target.
    Source: Lin, Goyal, Girshick, He, Dollár (2017).

    Raises:
      ValueError: γ is negative or not finite; shapes that do not fit; a label out of range. Inside `jit`
        such an example's loss and gradient are NaN.
    """
    name = f"softmax_focal({gamma})"
    _check_gamma(name, gamma)

    def others(logits: Array, target: Array, dtype: Any) -> tuple[Array, Array]:
        """The logits, -∞ in the label's place, and where that is."""
        classes = jax.lax.broadcasted_iota(target.dtype, logits.shape, logits.ndim - 1)
        label = classes == target[..., None]
        return jnp.where(label, -jnp.inf, logits.astype(dtype)), label

    def forward(logits: PyTree, target: PyTree) -> tuple[Array, FocalCache]:
        logits = check_scores(name, logits)
        if logits.shape[-1] < 2:
            raise ValueError(f"{name}: expected two classes at least, got logits {logits.shape}")
        target = as_labels(name, target, logits.shape[:-1], logits.shape[-1])
        wide = accumulation_dtype(logits.dtype)
        top, total = centred_sum_exp(others(logits, target, wide)[0])
        own = jnp.take_along_axis(logits, target[..., None], axis=-1, mode="clip").astype(wide)
        m = own - top - jnp.log(total)
        losses = (_power(jax.nn.softplus(m), gamma) * jax.nn.softplus(-m))[..., 0]
        losses = poisoned(is_label(target, logits.shape[-1]), losses)
        return losses, FocalCache(logits, m, top, total, target)

    def backward(cache: FocalCache, dlosses: Array) -> Array:
        logits, m, top, total, target = cache
        rest, label = others(logits, target, m.dtype)
        exponential = jnp.exp(rest - top)  # in one `jit`, XLA keeps forward's
        g = as_arrays(dlosses).astype(m.dtype)
        g = poisoned_cotangent(is_label(target, logits.shape[-1]), g)[..., None]
        slope = g * _slope(jax.nn.softplus(m), jax.nn.softplus(-m), gamma)
        share = slope / jnp.where(total == 0, 1, total)  # no other class can be
        return jnp.where(label, slope, -share * exponential).astype(logits.dtype)

    def chance(classes: int) -> tuple[PyTree, PyTree]:
        return np.zeros((classes, classes)), np.arange(classes)

    return Loss(name, forward, backward, chance)


def _power(plus: Array, gamma: float) -> Array | float:
    """σ(-z)^γ of softplus(z): as an exponential, which has no corner at 0."""
    return jnp.exp(-gamma * plus) if gamma else 1.0


def _slope(plus: Array, minus: Array, gamma: float) -> Array:
    """f′(z) of softplus(z) and softplus(-z), its limits at ±∞ included."""
    product = jnp.where(minus == jnp.inf, 0, jnp.exp(-minus) * minus)  # σ(z) · softplus(-z)
    return -_power(plus, gamma) * (gamma * product + jnp.exp(-plus))


def _binary(name: str, reduction: str, value: Any, slope: Any) -> Loss:
    """The loss ``c · Σ value(z, t)``, where `slope` is the derivative of `value` by z."""
    if reduction not in ("sum", "mean"):
        raise ValueError(f"{name}: expected reduction 'sum' or 'mean', got {reduction!r}")

    def factor(z: Array) -> float:
        return 1 / max(z.size // max(z.shape[0], 1), 1) if reduction == "mean" else 1.0

    def forward(logits: PyTree, target: PyTree) -> tuple[Array, LogisticCache]:
        z = as_prediction(name, logits, "logits")
        if z.ndim < 1:
            raise ValueError(f"{name}: expected logits of shape (N, …), got ()")
        target = as_fractions(name, target, z.shape)
        wide = z.astype(accumulation_dtype(z.dtype))
        t = target.astype(wide.dtype)
        valid = is_fraction(t)
        losses = poisoned(valid, value(wide, jnp.where(valid, t, 0)))
        losses = losses.sum(axis=tuple(range(1, z.ndim)))
        return factor(z) * losses, LogisticCache(z, target)

    def backward(cache: LogisticCache, dlosses: Array) -> Array:
        z, target = cache
        wide = z.astype(accumulation_dtype(z.dtype))
        t = target.astype(wide.dtype)
        g = factor(z) * as_arrays(dlosses).astype(wide.dtype).reshape(-1, *(1,) * (z.ndim - 1))
        valid = is_fraction(t)
        g = poisoned_cotangent(valid, jnp.broadcast_to(g, z.shape))
        return (g * slope(wide, jnp.where(valid, t, 0))).astype(z.dtype)

    def chance(classes: int) -> tuple[PyTree, PyTree]:
        """As many yes as no, of as many labels an example as there are classes."""
        target = np.stack([np.zeros(classes), np.ones(classes)])
        return np.zeros((2, classes)), target

    return Loss(name, forward, backward, chance)


def _check_gamma(name: str, gamma: float) -> None:
    if not 0 <= gamma < np.inf:
        raise ValueError(f"{name}: expected 0 <= gamma < ∞, got {gamma}")
