"""Losses of numbers: functions of how far a prediction is off, summed over all axes but the first."""

from collections.abc import Callable
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from fnn.dtypes import accumulation_dtype
from fnn.layer import Array, PyTree, as_arrays
from fnn.losses.loss import Loss
from fnn.losses.targets import as_numbers, as_prediction

Reduction = Literal["sum", "mean"]


class ErrorCache(NamedTuple):
    """The two that are compared: both are there anyway, and their difference is not."""

    prediction: Array  # (N, …)
    target: Array  # (N, …)


def squared_error(reduction: Literal["sum", "half", "mean"] = "sum") -> Loss:
    """c · Σ (prediction - target)², over all axes but the first.

    Forward: ``loss = c · Σ error²`` with ``error = prediction - target``. Backward:
    ``dprediction = 2 c · error · dloss``. The factor c is 1 for "sum", 1/2 for "half" and one over the
    number of terms for "mean". Shapes: prediction and target (N, …), losses (N,), at least float32.
    Cache: both. Source: Legendre (1805).

    Raises:
      ValueError: an unknown reduction; a target of another shape; one of the two is of no floating dtype.
    """

    def slope(error: Array) -> Array:
        return 2 * error

    return _of_error("squared_error", reduction, jnp.square, slope, ("sum", "half", "mean"))


def absolute_error(reduction: Reduction = "sum") -> Loss:
    """c · Σ |prediction - target|, over all axes but the first: its best constant is the median.

    Forward: ``loss = c · Σ |error|`` with ``error = prediction - target``. Backward:
    ``dprediction = c · sign(error) · dloss``. Subgradient: 0 at an error of 0, the middle of the
    possible ones (that of `jnp.abs` is 1). The factor c is 1 for "sum" and one over the number of terms
    for "mean". Shapes: prediction and target (N, …), losses (N,), at least float32. Cache: both.
    Source: Boscovich (1757), Laplace (1793).

    Raises:
      ValueError: an unknown reduction; a target of another shape; one of the two is of no floating dtype.
    """

    def value(error: Array) -> Array:
        return error * jnp.sign(error)  # whose derivative is the sign, in autodiff as well

    return _of_error("absolute_error", reduction, value, jnp.sign)


def huber(delta: float = 1.0, reduction: Reduction = "sum") -> Loss:
    """Half the squared error near 0, and the absolute one, times delta, beyond delta.

    Forward, with ``error = prediction - target``:

        loss = c · Σ error² / 2                            where |error| <= delta
        loss = c · Σ delta · (|error| - delta / 2)         elsewhere

    Backward: ``dprediction = c · max(-delta, min(error, delta)) · dloss``; it is continuous, so that no
    convention is needed. The factor c is 1 for "sum" and one over the number of terms for "mean".
    Shapes: prediction and target (N, …), losses (N,), at least float32. Cache: both.
    Source: Huber (1964).

    Raises:
      ValueError: delta is not above 0 and finite; an unknown reduction; a target of another shape; one
        of the two is of no floating dtype.
    """
    if not 0 < delta < np.inf:
        raise ValueError(f"huber: expected 0 < delta < ∞, got {delta}")

    def value(error: Array) -> Array:
        # A select comes last, since XLA:CPU then makes one loop of all before the sum: 0.6 of the time
        # of `minimum`, whose constant it holds as a whole array.
        size = jnp.abs(error)
        near = ~(size > delta)  # NaN too: autodiff of its size would be a number
        small = jnp.where(near, error, 0)  # ∞ · 0 would be NaN in autodiff
        return jnp.where(near, 0.5 * small * small, delta * (size - 0.5 * delta))

    def slope(error: Array) -> Array:
        return jnp.clip(error, -delta, delta)

    return _of_error(f"huber({delta})", reduction, value, slope)


def log_cosh(reduction: Reduction = "sum") -> Loss:
    """c · Σ log cosh(prediction - target): error² / 2 near 0, |error| - log 2 far from it, smooth.

    Forward, with ``error = prediction - target``, so written that neither the small ones cancel nor the
    large ones overflow:

        loss = c · Σ log(1 + (cosh error - 1))                             where |error| < 1
        loss = c · Σ |error| + log(1 + exp(-2 |error|)) - log 2            elsewhere

    where cosh - 1 is its power series, so that one logarithm serves both.

    Backward: ``dprediction = c · tanh(error) · dloss``. The factor c is 1 for "sum" and one over the
    number of terms for "mean". Shapes: prediction and target (N, …), losses (N,), at least float32.
    Cache: both. Source: Green (1990).

    Raises:
      ValueError: an unknown reduction; a target of another shape; one of the two is of no floating dtype.
    """

    def value(error: Array) -> Array:
        size = jnp.abs(error)
        near = size < 1
        # Each form sees a harmless number where the other is taken: ∞ · 0 would be NaN in autodiff.
        small, large = jnp.where(near, error, 0), jnp.where(near, 1, size)
        inner = jnp.where(near, _cosh_minus_one(small), jnp.exp(-2 * large))
        return jnp.where(near, 0, large - np.log(2).astype(error.dtype)) + jnp.log1p(inner)

    return _of_error("log_cosh", reduction, value, jnp.tanh)


def _cosh_minus_one(x: Array) -> Array:
    """Σ x^2k / (2k)! over k >= 1, for |x| < 1: to rounding, and so is its derivative."""
    square = x * x
    terms = 6 if x.dtype.itemsize <= 4 else 9
    rest = jnp.ones_like(square)
    for k in range(terms, 1, -1):
        rest = 1 + square * rest / (2 * k * (2 * k - 1))
    return 0.5 * square * rest


def _of_error(
    name: str,
    reduction: str,
    value: Callable[[Array], Array],
    slope: Callable[[Array], Array],
    reductions: tuple[str, ...] = ("sum", "mean"),
) -> Loss:
    """The loss ``c · Σ value(error)``, where `slope` is the derivative of `value`."""
    if reduction not in reductions:
        names = " or ".join(repr(r) for r in reductions).replace(" or ", ", ", len(reductions) - 2)
        raise ValueError(f"{name}: expected reduction {names}, got {reduction!r}")

    def factor(error: Array) -> float:
        terms = error.size // max(error.shape[0], 1)
        return {"sum": 1.0, "half": 0.5, "mean": 1 / max(terms, 1)}[reduction]

    def forward(prediction: PyTree, target: PyTree) -> tuple[Array, ErrorCache]:
        prediction = as_prediction(name, prediction)
        if prediction.ndim < 1:
            raise ValueError(f"{name}: expected a prediction of shape (N, …), got ()")
        target = as_numbers(name, target, prediction.shape)
        wide = accumulation_dtype(prediction.dtype)
        error = prediction.astype(wide) - target.astype(wide)
        losses = factor(error) * value(error).sum(axis=tuple(range(1, error.ndim)))
        return losses, ErrorCache(prediction, target)

    def backward(cache: ErrorCache, dlosses: Array) -> Array:
        # Without the barrier XLA finds the difference again, writes it to memory in forward and reads
        # it here, which takes twice as long as to subtract once more.
        prediction, target = jax.lax.optimization_barrier((cache.prediction, cache.target))
        wide = accumulation_dtype(prediction.dtype)
        error = prediction.astype(wide) - target.astype(wide)
        g = as_arrays(dlosses).astype(error.dtype).reshape(-1, *(1,) * (error.ndim - 1))
        return (factor(error) * g * slope(error)).astype(prediction.dtype)

    return Loss(name, forward, backward)
