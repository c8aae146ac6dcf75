"""What all preprocessing has in common: fitted on the training part, a value, applied to everything.

A fitted value is a named tuple of arrays: a pytree that is saved with the network, crosses `jit`, and is
applied again to what the network will see one day. Sums are made in float64, over blocks of rows, so that
no more than a block is ever copied.
"""

import math
from collections.abc import Iterator
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from fnn.layer import Array

X = NDArray[Any] | Array
_BLOCK = 1 << 22  # elements that are copied to float64 at once


class Fitted(Protocol):
    """A preprocessing step whose numbers are known."""

    def apply(self, x: Any) -> Any:
        """What the network sees of x (N, …), a NumPy or a jax array, inside of `jit` too."""


def training_part(train_x: X) -> NDArray[Any]:
    """The training part on the host, where there is float64 to sum in, if it can be fitted on.

    Raises:
        ValueError: there is no example of at least one feature, or the type is not a floating one.
    """
    if train_x.ndim < 2 or train_x.size == 0 or train_x.dtype.kind != "f":
        raise ValueError(
            "expected at least one floating-point example in train_x of shape (N, …), "
            f"got {train_x.shape} {train_x.dtype}"
        )
    return np.asarray(train_x)


def check_input(x: X, shape: tuple[int, ...], dtype: Any, *, like: str = "training") -> None:
    """Refuse inputs that are not like those of the fit.

    Args:
        x: (…, *shape).
        shape: of what the fit is about, the last axes.
        dtype: of the fit.
        like: what the message calls the inputs that are wanted.

    Raises:
        ValueError: x has other last axes or another type. Bytes in 0 … 255 are refused rather than
            treated by a fit in [0, 1].
    """
    if len(x.shape) < len(shape) or tuple(x.shape[len(x.shape) - len(shape) :]) != shape:
        raise ValueError(
            f"expected inputs of shape (…, {', '.join(map(str, shape))}), got {x.shape}"
        )
    if x.dtype != dtype:
        raise ValueError(
            f"expected {dtype} inputs in the units of the {like} inputs, got {x.dtype}; bring them to "
            "this type and these units, or fit on inputs like them"
        )


def spread(value: Any, x: X) -> Any:
    """`value`, broadcast over the first axes of x by hand, as strict rank promotion wants it."""
    return namespace(x).broadcast_to(value, x.shape)


def namespace(x: Any) -> Any:
    """numpy for NumPy arrays, jax.numpy for the others."""
    return np if isinstance(x, np.ndarray | np.generic) else jnp


def product(x: X, matrix: Any) -> Any:
    """x (N, D) times matrix (D, K), in full precision on every device."""
    if isinstance(x, np.ndarray):
        return x @ np.asarray(matrix)
    return jnp.matmul(x, matrix, precision=jax.lax.Precision.HIGHEST)


def rows(x: NDArray[Any], axes: int) -> NDArray[Any]:
    """x (…, *shape) as (N, D), where `shape` has so many axes; a view where x lies in one piece."""
    return x.reshape(-1, math.prod(x.shape[x.ndim - axes :]))


def blocks(x: NDArray[Any]) -> Iterator[NDArray[np.float64]]:
    """The rows (N, D) in order, a block of them at a time, in float64."""
    step = max(1, _BLOCK // x.shape[1])
    for start in range(0, len(x), step):
        yield x[start : start + step].astype(np.float64)


def mean_of(x: NDArray[Any]) -> NDArray[np.float64]:
    """The mean (D,) of the rows (N, D).

    Of the differences from the first row, so that the mean of equal numbers is that number.
    """
    first = x[0].astype(np.float64)
    total = np.zeros_like(first)
    for block in blocks(x):
        block -= first
        total += block.sum(axis=0)
    return first + total / len(x)


def variance_of(x: NDArray[Any], mean: NDArray[np.float64]) -> NDArray[np.float64]:
    """The mean squared distance (D,) of the rows (N, D) from their mean."""
    total = np.zeros_like(mean)
    for block in blocks(x):
        block -= mean
        total += np.einsum("nd,nd->d", block, block)
    return total / len(x)


def scatter_of(x: NDArray[Any], mean: NDArray[np.float64]) -> NDArray[np.float64]:
    """Σ_n (x_n - mean)(x_n - mean)ᵀ, (D, D), of the rows (N, D)."""
    total = np.zeros((len(mean), len(mean)))
    for block in blocks(x):
        block -= mean
        total += block.T @ block
    return total
