"""What the normalizations share: scale and bias, and the sums that they are made of."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from fnn.dtypes import accumulation_dtype, check_inexact, computing_dtype, parameter_dtype
from fnn.initializers import Initializer
from fnn.layer import Array, Key
from fnn.random import child_key


class NormParams(NamedTuple):
    """The scale and bias that every channel gets back; C channels."""

    scale: Array | None  # (C,), None without a scale
    bias: Array | None  # (C,), None without a bias


class Affine(NamedTuple):
    """Which parameters a normalization has, and how they start; None for one that it lacks."""

    scale_init: Initializer | None
    bias_init: Initializer | None

    def init(self, key: Key, x: Array) -> NormParams:
        """The parameters of the last axis of x, in its dtype."""
        dtype, shape = parameter_dtype(x), x.shape[-1:]
        scale, bias = self
        return NormParams(
            None if scale is None else scale(child_key(key, "scale"), shape, dtype),
            None if bias is None else bias(child_key(key, "bias"), shape, dtype),
        )


def check_eps(name: str, eps: float) -> None:
    """Refuse an eps that lets a constant channel be 0 / 0."""
    if not eps > 0:
        raise ValueError(
            f"{name}: expected eps > 0, without which a constant input is 0 / 0, got {eps}"
        )


def check_input(
    name: str, known: Sequence[Array | None], x: Array, *, axes: int, form: str
) -> None:
    """Refuse an x with fewer axes, with another width than the parameters and statistics known, or of
    integers.

    Raises:
      ValueError: the shape is wrong; `form` is how the one expected is written, without its last axis.
      TypeError: x is of integers.
    """
    widths = {p.shape[0] for p in known if p is not None}
    if x.ndim < axes or x.shape[-1] < 1 or widths - {x.shape[-1]}:
        width = "/".join(map(str, sorted(widths))) or "C"
        raise ValueError(f"{name}: expected x of shape ({form}, {width}), got {x.shape}")
    check_inexact(x)


def wide_dtype(params: NormParams, x: Array) -> Any:
    """The dtype that statistics are taken in and all is computed in: at least float32."""
    return accumulation_dtype(computing_dtype(x, *params))


def like(parameter: Array, x: Array) -> Array:
    """A parameter (C,) in the rank and dtype of x (…, C), beside which it is broadcast."""
    return parameter.reshape((1,) * (x.ndim - 1) + (-1,)).astype(x.dtype)


def scaled(x: Array, params: NormParams) -> Array:
    """``x · scale``."""
    return x if params.scale is None else x * like(params.scale, x)


def shifted(x: Array, params: NormParams) -> Array:
    """``x + bias``."""
    return x if params.bias is None else x + like(params.bias, x)


def gradients(params: NormParams, dscale: Array, dbias: Array) -> NormParams:
    """The gradients of the parameters that there are, each in its parameter's shape and dtype."""
    return NormParams(
        None if params.scale is None else dscale.reshape(-1).astype(params.scale.dtype),
        None if params.bias is None else dbias.reshape(-1).astype(params.bias.dtype),
    )


def row_sums(rows: Array, weights: Array | None = None) -> Array:
    """Σ_c rows[:, c] · weights[c], as a product with a matrix of one column: (N, C) -> (N, 1).

    XLA:CPU takes the sum along the last axis one number after another, and the product in vectors, so
    that forward and backward of a layer norm take a third (of width 128) to two thirds of the time. The
    other sum, down a column, stays a sum: as a product it would add its rows one after another, and
    100,000 of them near 1e4 lose three digits.
    """
    if weights is None:
        weights = jnp.ones(rows.shape[-1:], rows.dtype)
    # Else an accelerator may round the factors to fewer bits.
    return jnp.matmul(rows, weights[:, None], precision=jax.lax.Precision.HIGHEST)
