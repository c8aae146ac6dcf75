"""The squared distance between a prediction and its target."""

from typing import Any, NamedTuple

import jax.numpy as jnp

from fnn.dtypes import accumulation_dtype
from fnn.layer import Array, Static, as_arrays
from fnn.losses.loss import Loss


class SquaredErrorCache(NamedTuple):
    """How far off each number was."""

    error: Array  # prediction - target, at least float32
    dtype: Static[Any]  # of the prediction


def squared_error(reduction: str = "sum") -> Loss:
    """c · Σ (prediction - target)², over all axes but the first.

    Forward: ``loss = c · Σ error²`` with ``error = prediction - target``. Backward:
    ``dprediction = 2 c · error · dloss``. The factor c is 1 for "sum", 1/2 for "half" and one over the
    number of terms for "mean". Shapes: prediction and target (N, …), losses (N,), at least float32.
    Cache: the error.

    Raises:
      ValueError: an unknown reduction; a target of another shape; one of the two is of no floating dtype.
    """
    if reduction not in ("sum", "half", "mean"):
        raise ValueError(
            f"squared_error: expected reduction 'sum', 'half' or 'mean', got {reduction!r}"
        )

    def factor(error: Array) -> float:
        terms = error.size // max(error.shape[0], 1)
        return {"sum": 1.0, "half": 0.5, "mean": 1 / max(terms, 1)}[reduction]

    def forward(prediction: Array, target: Array) -> tuple[Array, SquaredErrorCache]:
        prediction, target = jnp.asarray(prediction), jnp.asarray(target)
        if prediction.ndim < 1 or prediction.shape != target.shape:
            raise ValueError(
                f"squared_error: expected a target of the prediction's shape {prediction.shape}, "
                f"got {target.shape}"
            )
        if not jnp.issubdtype(target.dtype, jnp.floating):
            raise ValueError(f"squared_error: expected a floating target, got {target.dtype}")
        if not jnp.issubdtype(prediction.dtype, jnp.inexact):
            raise ValueError(
                f"squared_error: expected a floating prediction, got {prediction.dtype}"
            )
        wide = accumulation_dtype(prediction.dtype)
        error = prediction.astype(wide) - target.astype(wide)
        losses = factor(error) * (error * error).sum(axis=tuple(range(1, error.ndim)))
        return losses, SquaredErrorCache(error, Static(prediction.dtype))

    def backward(cache: SquaredErrorCache, dlosses: Array) -> Array:
        error = cache.error
        g = as_arrays(dlosses).astype(error.dtype).reshape(-1, *(1,) * (error.ndim - 1))
        return ((2 * factor(error)) * g * error).astype(cache.dtype.value)

    return Loss("squared_error", forward, backward)
