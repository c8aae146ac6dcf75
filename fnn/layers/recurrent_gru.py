"""The gated recurrent unit."""

from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp

from fnn.initializers import Initializer, orthogonal, xavier_uniform, zeros
from fnn.layer import Array, Key, Layer
from fnn.layers.recurrent import Options, recurrent
from fnn.layers.recurrent_cell import (
    Cell,
    HiddenCarry,
    as_layer,
    blocks,
    check_features,
    kernel,
    product,
    sum_over_steps,
    transposed_product,
)
from fnn.random import child_key

Reset = Literal["after", "before"]


class GRUParams(NamedTuple):
    """What a GRU learns; D inputs, H units; r, z and the candidate n side by side."""

    w_x: Array  # (D, 3 H)
    w_h: Array  # (H, 3 H)
    b: Array  # (3 H,)
    b_h: Array | None  # (H,), the bias that the reset gate scales; None for reset="before"


class _Step(NamedTuple):
    """The gates of a step, and what the candidate gets from the state before."""

    r: Array
    z: Array
    n: Array
    p: Array  # reset="after": h w_hn + b_h; "before": r · h


class _Delta(NamedTuple):
    """The derivatives by what the two products give, and a factor of the second."""

    a: Array  # (…, 3 H), by x w_x + b
    n: Array  # (…, H), by the candidate's part of h w_h; for reset="before" it is the same as in `a`
    p: Array | None  # (…, H), r · h, for reset="before"


def gru(
    features: int,
    *,
    reset: Reset = "after",
    reverse: bool = False,
    truncate: int | None = None,
    lengths: bool = False,
    carry_in: bool = False,
    carry_out: bool = False,
    kernel_init: Initializer = xavier_uniform,
    recurrent_init: Initializer = orthogonal,
    bias_init: Initializer = zeros,
) -> Layer:
    """A gated recurrent unit over a sequence.

    Forward, for each t, from h = 0, each gate with its own weights:

        r, z = σ(x_t w_x + h w_h + b)
        n = tanh(x_t w_x + b + r · (h w_h + b_h))       reset="after", as in cuDNN and PyTorch
        n = tanh(x_t w_x + b + (r · h) w_h)             reset="before", as in the paper
        y_t = h_t = (1 - z) · n + z · h

    Backward, through time, with dh = dy_t + what step t + 1 sends back:

        dn = dh (1 - z) (1 - n²)      dz = dh (h - n) z (1 - z)
        after:   dr = dn (h w_hn + b_h) r (1 - r)      to step t - 1: dh z + (dr, dz, dn r) w_hᵀ
        before:  dr = s h r (1 - r) with s = dn w_hnᵀ      to step t - 1: dh z + (dr, dz) w_hᵀ + s r
        dw_x = Σ_t x_tᵀ (dr, dz, dn)      dw_h = Σ_t hᵀ (dr, dz, dn r), or (r h)ᵀ dn for its last part
        db = Σ_t (dr, dz, dn)      db_h = Σ_t dn r      dx_t = (dr, dz, dn) w_xᵀ

    Shapes: x (N, T, D), y (N, T, H) with H = features; T may be 0. The parameters take the dtype of x.
    Cache: x and y; the gates are computed again. Source: Cho et al. (2014). "after" needs one product
    with the state instead of two.

    Args:
      features: H, the number of units.
      reset: whether the reset gate acts after or before the product of the state and w_h.
      reverse: as for `lstm`, like those that follow.
      truncate: no gradient crosses from a step that is a multiple of it to the one before.
      lengths: x is (x, lengths); one out of range gives NaN inside `jit`, as for `lstm`.
      carry_in: x begins with the carry to begin with, `HiddenCarry(h)`, or None for zeros.
      carry_out: the output is (carry, y).
      kernel_init: of each gate's part of w_x, (D, H).
      recurrent_init: of each gate's part of w_h, (H, H).
      bias_init: of b and b_h.

    Raises:
      TypeError: x is of integers, or lengths are not.
      ValueError: no feature, or a reset of another name; a part of x is missing or has another shape;
        a length out of range.
    """
    options = Options(reverse, truncate, lengths, carry_in, carry_out)
    return recurrent(_cell(features, reset, kernel_init, recurrent_init, bias_init), options)


def gru_cell(
    features: int,
    *,
    reset: Reset = "after",
    kernel_init: Initializer = xavier_uniform,
    recurrent_init: Initializer = orthogonal,
    bias_init: Initializer = zeros,
) -> Layer:
    """One step of a `gru`: ``(carry, x) -> (carry, y)``, with the same parameters.

    Forward, Backward: those of `gru` for T = 1, with the carry `HiddenCarry(h)` as a part of x and, next
    to y = h, of the output. Shapes: x (N, D); h and y (N, H). Cache: x, the carry, and the new h.
    Source: Cho et al. (2014), as for `gru`.

    Args:
      features: H, the number of units.
      reset: as for `gru`, like the others.
      kernel_init: of each gate's part of w_x.
      recurrent_init: of each gate's part of w_h.
      bias_init: of b and b_h.

    Raises:
      TypeError: x is of integers.
      ValueError: no feature; x is no pair of a carry and an input of the right shapes.
    """
    return as_layer(_cell(features, reset, kernel_init, recurrent_init, bias_init))


def _cell(
    features: int,
    reset: Reset,
    kernel_init: Initializer,
    recurrent_init: Initializer,
    bias_init: Initializer,
) -> Cell:
    check_features("gru", features)
    if reset not in ("after", "before"):
        raise ValueError(f"gru: expected reset 'after' or 'before', got {reset!r}")
    gated = 2 * features  # the columns of r and z

    def init(key: Key, inputs: int, dtype: Any) -> GRUParams:
        after = reset == "after"
        return GRUParams(
            kernel(kernel_init, child_key(key, "w_x"), inputs, features, 3, dtype),
            kernel(recurrent_init, child_key(key, "w_h"), features, features, 3, dtype),
            bias_init(child_key(key, "b"), (3 * features,), dtype),
            bias_init(child_key(key, "b_h"), (features,), dtype) if after else None,
        )

    def gates(params: GRUParams, before: HiddenCarry, x: Array) -> _Step:
        h = before.h
        a = product(x, params.w_x) + params.b.astype(h.dtype)[None]
        # One product with the state, or one with two thirds of its weights and, below, one with the rest.
        q = product(h, params.w_h if params.b_h is not None else params.w_h[:, :gated])
        r, z = blocks(jax.lax.logistic(a[..., :gated] + q[..., :gated]), features)
        if params.b_h is not None:
            p = q[..., gated:] + params.b_h.astype(h.dtype)[None]
            return _Step(r, z, jnp.tanh(a[..., gated:] + r * p), p)
        p = r * h
        return _Step(r, z, jnp.tanh(a[..., gated:] + product(p, params.w_h[:, gated:])), p)

    def step(params: GRUParams, before: HiddenCarry, x: Array) -> HiddenCarry:
        _, z, n, _ = gates(params, before, x)
        return HiddenCarry((1 - z) * n + z * before.h)

    def back(
        params: GRUParams, before: HiddenCarry, h: Array, x: Array, dafter: HiddenCarry
    ) -> tuple[HiddenCarry, _Delta]:
        del h  # the gates are needed anyway
        r, z, n, p = gates(params, before, x)
        dh = dafter.h
        da_n = dh * (1 - z) * ((1 + n) * (1 - n))
        da_z = dh * (before.h - n) * (z * (1 - z))
        if params.b_h is not None:
            da_r = da_n * p * (r * (1 - r))
            dn = da_n * r
            dbefore = product(jnp.concatenate([da_r, da_z, dn], axis=-1), params.w_h.T)
            saved = None
        else:
            dp = product(da_n, params.w_h[:, gated:].T)
            da_r = dp * before.h * (r * (1 - r))
            dn, saved = da_n, p
            dgates = jnp.concatenate([da_r, da_z], axis=-1)
            dbefore = dp * r + product(dgates, params.w_h[:, :gated].T)
        delta = _Delta(jnp.concatenate([da_r, da_z, da_n], axis=-1), dn, saved)
        return HiddenCarry(dbefore + dh * z), delta

    def gradients(
        params: GRUParams, before: HiddenCarry, x: Array, delta: _Delta
    ) -> tuple[GRUParams, Array]:
        of_gates, w_h = delta.a[..., :gated], params.w_h
        if delta.p is None and delta.a.ndim == 2:
            # Of one step, to join what goes to the state before costs less than to join two products.
            dq = jnp.concatenate([of_gates, delta.n], axis=-1)
            dw_h = transposed_product(before.h, dq, w_h)
        else:
            source = before.h if delta.p is None else delta.p
            parts = [
                transposed_product(before.h, of_gates, w_h),
                transposed_product(source, delta.n, w_h),
            ]
            dw_h = jnp.concatenate(parts, axis=1)
        dparams = GRUParams(
            transposed_product(x, delta.a, params.w_x),
            dw_h,
            sum_over_steps(delta.a),
            None if params.b_h is None else sum_over_steps(delta.n),
        )
        return dparams, product(delta.a, params.w_x.T)

    return Cell("gru", features, HiddenCarry, init, step, back, gradients)
