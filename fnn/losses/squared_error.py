"""The squared distance between a prediction and its target."""

from typing import NamedTuple

import jax.numpy as jnp

from fnn.layer import Array, as_arrays
from fnn.losses.loss import Loss


class SquaredErrorCache(NamedTuple):
    """How far off each number was."""

    error: Array  # prediction - target


def squared_error(reduction: str = "sum") -> Loss:
    """c · Σ (prediction - target)², over all axes but the first.

    Forward: ``loss = c · Σ error²`` with ``error = prediction - target``. Backward:
    ``dprediction = 2 c · error · dloss``. The factor c is 1 for "sum", 1/2 for "half" and one over the
    number of terms for "mean". Shapes: prediction and target (N, …), losses (N,). Cache: the error.

    Raises:
      ValueError: an unknown reduction; a target of another shape or of no floating dtype.
    """
    if reduction not in ("sum", "half", "mean"):
        raise ValueError(
            f"squared_error: expected reduction 'sum', 'half' or 'mean', got {reduction!r}"
        )

    def factor(error: Array) -> float:
        terms = error.size // max(error.shape[0], 1)
        return {"sum": 1.0, "half": 0.5, "mean": 1 / max(terms, 1)}[reduction]

    def forward(prediction: Array, target: Array) -> tuple[Array, SquaredErrorCache]:
        target = jnp.asarray(target)
        if prediction.ndim < 1 or prediction.shape != target.shape:
            raise ValueError(
                f"squared_error: expected a target of the prediction's shape {prediction.shape}, "
                f"got {target.shape}"
            )
        if not jnp.issubdtype(target.dtype, jnp.floating):
            raise ValueError(f"squared_error: expected a floating target, got {target.dtype}")
        error = prediction - target.astype(prediction.dtype)
        axes = tuple(range(1, error.ndim))
        return factor(error) * (error * error).sum(axis=axes), SquaredErrorCache(error)

    def backward(cache: SquaredErrorCache, dlosses: Array) -> Array:
        error = cache.error
        g = as_arrays(dlosses).astype(error.dtype).reshape(-1, *(1,) * (error.ndim - 1))
        return (2 * factor(error)) * g * error

    return Loss("squared_error", forward, backward)
