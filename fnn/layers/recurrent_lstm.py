"""The long short-term memory."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from fnn.initializers import Initializer, orthogonal, xavier_uniform, zeros
from fnn.layer import Array, Key, Layer
from fnn.layers.recurrent import Options, recurrent
from fnn.layers.recurrent_cell import (
    Cell,
    as_layer,
    blocks,
    check_features,
    kernel,
    product,
    sum_over_steps,
    transposed_product,
)
from fnn.random import child_key


class LSTMParams(NamedTuple):
    """What an LSTM learns; D inputs, H units; the gates i, f, g, o side by side."""

    w_x: Array  # (D, 4 H)
    w_h: Array  # (H, 4 H)
    b: Array  # (4 H,)


class LSTMCarry(NamedTuple):
    """What an LSTM carries from step to step."""

    h: Array  # (N, H), the hidden state, which is the output
    c: Array  # (N, H), the cell, its memory


def lstm(
    features: int,
    *,
    reverse: bool = False,
    truncate: int | None = None,
    lengths: bool = False,
    carry_in: bool = False,
    carry_out: bool = False,
    forget_bias: float = 1.0,
    kernel_init: Initializer = xavier_uniform,
    recurrent_init: Initializer = orthogonal,
    bias_init: Initializer = zeros,
) -> Layer:
    """A long short-term memory over a sequence.

    Forward, for each t, from h = c = 0:

        i, f, o = σ(x_t w_x + h w_h + b)      g = tanh(x_t w_x + h w_h + b)      each with its own weights
        c_t = f · c + i · g                   y_t = h_t = o · tanh(c_t)

    Backward, through time, with dh = dy_t + what step t + 1 sends back, and dc likewise:

        dc ← dc + dh · o · (1 - tanh² c_t)        dz = (dc · g · i (1 - i), dc · c · f (1 - f),
        to step t - 1: dh = dz w_hᵀ, dc · f             dc · i · (1 - g²), dh · tanh(c_t) · o (1 - o))
        dw_x = Σ_t x_tᵀ dz_t      dw_h = Σ_t h_{t-1}ᵀ dz_t      db = Σ_t dz_t      dx_t = dz_t w_xᵀ

    Shapes: x (N, T, D), y (N, T, H) with H = features; T may be 0. The parameters take the dtype of x;
    the gates, h and c are float32 at least while it runs. Cache: x, y and the cells before each step,
    no gate: these are computed again on the way back, which is quicker on a CPU than to store four
    numbers a unit and step. Sources: Hochreiter, Schmidhuber (1997); Gers, Schmidhuber, Cummins (2000)
    for the forget gate. There are no peepholes; b is the sum of PyTorch's two biases.

    Args:
      features: H, the number of units.
      reverse: run from the last step to the first; y_t stays at t.
      truncate: truncated backpropagation: no gradient crosses from step t to t - 1 (in the order in
        which they are made, the first being 0) where t is a multiple of `truncate`. The values of the
        forward pass stay, and dy reaches every step. A carry that is handed in gets the gradient of
        the first `truncate` steps.
      lengths: x is (x, lengths): of sequence n, only the first lengths[n] steps are made; in the others y
        is 0, the carry is what it was, and no gradient comes. What x holds there does not matter. A
        length outside of [0, T] raises; inside `jit`, where it cannot be looked at, it makes NaN of the
        sequence's y and dx and of all dparams, which no step of training takes. The gradient of its
        carry is 0.
      carry_in: x begins with the carry to begin with, `LSTMCarry(h, c)`, or None for zeros.
      carry_out: the output is (carry, y), with the carry after the last step in the dtype of the one
        that came in, or of x.
      forget_bias: what is added to the forget gate's part of `bias_init`, so that a new network
        remembers (1, as Gers et al. found to help).
      kernel_init: of each gate's part of w_x, (D, H).
      recurrent_init: of each gate's part of w_h, (H, H).
      bias_init: of b.

    Raises:
      TypeError: x is of integers, or lengths are not.
      ValueError: no feature; a part of x is missing or has another shape; a length out of range.
    """
    options = Options(reverse, truncate, lengths, carry_in, carry_out)
    return recurrent(_cell(features, forget_bias, kernel_init, recurrent_init, bias_init), options)


def lstm_cell(
    features: int,
    *,
    forget_bias: float = 1.0,
    kernel_init: Initializer = xavier_uniform,
    recurrent_init: Initializer = orthogonal,
    bias_init: Initializer = zeros,
) -> Layer:
    """One step of an `lstm`: ``(carry, x) -> (carry, y)``, with the same parameters.

    Forward, Backward: those of `lstm` for T = 1, with the carry `LSTMCarry(h, c)` as a part of x and,
    next to y = h, of the output. Shapes: x (N, D); h, c and y (N, H). Cache: x, the carry, and h.
    Source: Hochreiter, Schmidhuber (1997), as for `lstm`.

    Args:
      features: H, the number of units.
      forget_bias: as for `lstm`, like the others.
      kernel_init: of each gate's part of w_x.
      recurrent_init: of each gate's part of w_h.
      bias_init: of b.

    Raises:
      TypeError: x is of integers.
      ValueError: no feature; x is no pair of a carry and an input of the right shapes.
    """
    return as_layer(_cell(features, forget_bias, kernel_init, recurrent_init, bias_init))


def _cell(
    features: int,
    forget_bias: float,
    kernel_init: Initializer,
    recurrent_init: Initializer,
    bias_init: Initializer,
) -> Cell:
    check_features("lstm", features)

    def init(key: Key, inputs: int, dtype: Any) -> LSTMParams:
        b = bias_init(child_key(key, "b"), (4 * features,), dtype)
        return LSTMParams(
            kernel(kernel_init, child_key(key, "w_x"), inputs, features, 4, dtype),
            kernel(recurrent_init, child_key(key, "w_h"), features, features, 4, dtype),
            b.at[features : 2 * features].add(jnp.asarray(forget_bias, dtype)),
        )

    def gates(params: LSTMParams, before: LSTMCarry, x: Array) -> tuple[Array, ...]:
        z = product(x, params.w_x) + product(before.h, params.w_h) + _row(params.b, before.h)
        i, f, g, o = blocks(z, features)
        sigmoid = jax.lax.logistic
        return sigmoid(i), sigmoid(f), jnp.tanh(g), sigmoid(o)

    def step(params: LSTMParams, before: LSTMCarry, x: Array) -> LSTMCarry:
        i, f, g, o = gates(params, before, x)
        c = f * before.c + i * g
        return LSTMCarry(o * jnp.tanh(c), c)

    def back(
        params: LSTMParams, before: LSTMCarry, h: Array, x: Array, dafter: LSTMCarry
    ) -> tuple[LSTMCarry, Array]:
        del h  # the gates are needed anyway
        i, f, g, o = gates(params, before, x)
        t = jnp.tanh(f * before.c + i * g)
        dh = dafter.h
        dc = dafter.c + dh * o * ((1 + t) * (1 - t))
        dz = [dc * g * i * (1 - i), dc * before.c * f * (1 - f), dc * i * ((1 + g) * (1 - g))]
        delta = jnp.concatenate([*dz, dh * t * o * (1 - o)], axis=-1)
        return LSTMCarry(product(delta, params.w_h.T), dc * f), delta

    def gradients(
        params: LSTMParams, before: LSTMCarry, x: Array, delta: Array
    ) -> tuple[LSTMParams, Array]:
        dparams = LSTMParams(
            transposed_product(x, delta, params.w_x),
            transposed_product(before.h, delta, params.w_h),
            sum_over_steps(delta),
        )
        return dparams, product(delta, params.w_x.T)

    def carry(h: Array) -> LSTMCarry:
        return LSTMCarry(h, h)

    return Cell("lstm", features, carry, init, step, back, gradients)


def _row(b: Array, like: Array) -> Array:
    return b.astype(like.dtype)[None]
