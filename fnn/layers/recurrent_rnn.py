"""The simple recurrent network."""

from typing import Any, NamedTuple

import jax.numpy as jnp

from fnn.initializers import Initializer, orthogonal, xavier_uniform, zeros
from fnn.layer import Array, Key, Layer
from fnn.layers.recurrent import Options, recurrent
from fnn.layers.recurrent_cell import (
    Cell,
    HiddenCarry,
    as_layer,
    check_features,
    kernel,
    product,
    sum_over_steps,
    transposed_product,
)
from fnn.random import child_key


class RNNParams(NamedTuple):
    """What a simple recurrent network learns; D inputs, H units."""

    w_x: Array  # (D, H)
    w_h: Array  # (H, H)
    b: Array  # (H,)


def rnn(
    features: int,
    *,
    reverse: bool = False,
    truncate: int | None = None,
    lengths: bool = False,
    carry_in: bool = False,
    carry_out: bool = False,
    kernel_init: Initializer = xavier_uniform,
    recurrent_init: Initializer = orthogonal,
    bias_init: Initializer = zeros,
) -> Layer:
    """A simple recurrent network over a sequence.

    Forward, for each t, from h_0 = 0: ``y_t = h_t = tanh(x_t w_x + h_{t-1} w_h + b)``.
    Backward, through time, with dh_t = dy_t + dz_{t+1} w_hᵀ:

        dz_t = dh_t · (1 + h_t) (1 - h_t)         dx_t = dz_t w_xᵀ
        dw_x = Σ_t x_tᵀ dz_t      dw_h = Σ_t h_{t-1}ᵀ dz_t      db = Σ_t dz_t

    Shapes: x (N, T, D), y (N, T, H) with H = features; T may be 0. The parameters take the dtype of x.
    Cache: x and y. Sources: Elman (1990); Rumelhart, Hinton, Williams (1986) for the backward pass.

    Args:
      features: H, the number of units.
      reverse: as for `lstm`, like those that follow.
      truncate: no gradient crosses from a step that is a multiple of it to the one before.
      lengths: x is (x, lengths); one out of range gives NaN inside `jit`, as for `lstm`.
      carry_in: x begins with the carry to begin with, `HiddenCarry(h)`, or None for zeros.
      carry_out: the output is (carry, y).
      kernel_init: of w_x.
      recurrent_init: of w_h.
      bias_init: of b.

    Raises:
      TypeError: x is of integers, or lengths are not.
      ValueError: no feature; a part of x is missing or has another shape; a length out of range.
    """
    options = Options(reverse, truncate, lengths, carry_in, carry_out)
    return recurrent(_cell(features, kernel_init, recurrent_init, bias_init), options)


def rnn_cell(
    features: int,
    *,
    kernel_init: Initializer = xavier_uniform,
    recurrent_init: Initializer = orthogonal,
    bias_init: Initializer = zeros,
) -> Layer:
    """One step of an `rnn`: ``(carry, x) -> (carry, y)``, with the same parameters.

    Forward, Backward: those of `rnn` for T = 1, with the carry `HiddenCarry(h)` as a part of x and, next
    to y = h, of the output. Shapes: x (N, D); h and y (N, H). Cache: x, the carry, and the new h.
    Source: Elman (1990), as for `rnn`.

    Args:
      features: H, the number of units.
      kernel_init: of w_x.
      recurrent_init: of w_h.
      bias_init: of b.

    Raises:
      TypeError: x is of integers.
      ValueError: no feature; x is no pair of a carry and an input of the right shapes.
    """
    return as_layer(_cell(features, kernel_init, recurrent_init, bias_init))


def _cell(
    features: int, kernel_init: Initializer, recurrent_init: Initializer, bias_init: Initializer
) -> Cell:
    check_features("rnn", features)

    def init(key: Key, inputs: int, dtype: Any) -> RNNParams:
        return RNNParams(
            kernel(kernel_init, child_key(key, "w_x"), inputs, features, 1, dtype),
            kernel(recurrent_init, child_key(key, "w_h"), features, features, 1, dtype),
            bias_init(child_key(key, "b"), (features,), dtype),
        )

    def step(params: RNNParams, before: HiddenCarry, x: Array) -> HiddenCarry:
        z = product(x, params.w_x) + product(before.h, params.w_h)
        return HiddenCarry(jnp.tanh(z + params.b.astype(z.dtype)[None]))

    def back(
        params: RNNParams, before: HiddenCarry, h: Array, x: Array, dafter: HiddenCarry
    ) -> tuple[HiddenCarry, Array]:
        del before, x  # h says it all
        delta = dafter.h * ((1 + h) * (1 - h))
        return HiddenCarry(product(delta, params.w_h.T)), delta

    def gradients(
        params: RNNParams, before: HiddenCarry, x: Array, delta: Array
    ) -> tuple[RNNParams, Array]:
        dparams = RNNParams(
            transposed_product(x, delta, params.w_x),
            transposed_product(before.h, delta, params.w_h),
            sum_over_steps(delta),
        )
        return dparams, product(delta, params.w_x.T)

    return Cell("rnn", features, HiddenCarry, init, step, back, gradients)
