"""RAdam: Adam that waits until its mean square can be trusted."""

from typing import Any

import jax.numpy as jnp

from fnn.layer import Array
from fnn.optimizers.descent import descend
from fnn.optimizers.dialects import check_dialect
from fnn.optimizers.hyperparameters import Given, started
from fnn.optimizers.leafwise import leafwise, zeros
from fnn.optimizers.optimizer import Optimizer, compose


def radam(
    rate: Given = 1e-3,
    b1: Given = 0.9,
    b2: Given = 0.999,
    eps: Given = 1e-8,
    *,
    dialect: str = "torch",
) -> Optimizer:
    """Adam that divides by the root of the squares only when enough steps have been seen to trust it.

        m ← b1 · m + (1 - b1) · g        v ← b2 · v + (1 - b2) · g²        t ← t + 1
        n∞ ← 2 / (1 - b2) - 1            n ← n∞ - 2 · t · b2ᵗ / (1 - b2ᵗ)
        r ← √((n - 4) · (n - 2) · n∞ / ((n∞ - 4) · (n∞ - 2) · n))
        u ← r · √(1 - b2ᵗ) / (√v + eps) if n > 5, else 1
        params ← params - rate · u · m / (1 - b1ᵗ)

    Hyperparameters: rate, b1, b2, eps. State: m and v for every parameter, at least float32.

    Dialects: "torch" is the rule above. "optax" adds eps to the corrected root,
    r / (√(v / (1 - b2ᵗ)) + eps). "paper" is the rule above with n > 4, and has no eps of its own.

    Source: Liu et al. (2020).

    Raises:
      ValueError: a hyperparameter is a number out of range, or the dialect is unknown.
    """
    check_dialect(dialect, "torch", "optax", "paper")
    threshold = 4 if dialect == "paper" else 5

    def prepare(h: Any, t: Array) -> dict[str, Array]:
        limit = (1 + h.b2) / (1 - h.b2)
        n = _effective_steps(h.b2, t)
        enough = n > threshold
        # 1 stands in where the root is not taken.
        share = jnp.where(enough, (n - 4) * (n - 2) / n, 1)
        whole = jnp.where(enough, (limit - 4) * (limit - 2) / limit, 1)
        rectifier, square = jnp.sqrt(share / whole), started(h.b2, t)
        if dialect == "optax":
            scale, square_scale = rectifier, 1 / square
        else:
            scale, square_scale = rectifier * jnp.sqrt(square), jnp.ones_like(square)
        # Without enough steps, the divisor is √(v · 0) + 1.
        return {
            "mean_share": 1 - h.b1,
            "square_share": 1 - h.b2,
            "mean_scale": jnp.where(enough, scale, 1) / started(h.b1, t),
            "square_scale": jnp.where(enough, square_scale, 0),
            "offset": jnp.where(enough, h.eps, 1),
        }

    def rule(h: Any, g: Array, p: Array, m: Array, v: Array) -> tuple[Array, Array, Array]:
        del p  # the step depends on the gradients alone
        m = h.b1 * m + h.mean_share * g
        v = h.b2 * v + h.square_share * jnp.square(g)
        return m * h.mean_scale / (jnp.sqrt(v * h.square_scale) + h.offset), m, v

    moments = leafwise(
        rule,
        hyper={"b1": b1, "b2": b2, "eps": eps},
        slots={"mean": zeros, "square": zeros},
        prepare=prepare,
    )
    return compose(moments=moments, rate=descend(rate))


def _effective_steps(b: Array, t: Array) -> Array:
    """``(1 + b) / (1 - b) - 2 · t · bᵗ / (1 - bᵗ)``: how many equally weighted gradients v is worth.

    With x = -log b it is coth(x / 2) + t - t · coth(t · x / 2), the two poles of which cancel exactly:
    1 - K(x / 2) + t · K(t · x / 2) with K(y) = 1 + 1 / y - coth(y). The subtraction as it is printed
    would lose four of float32's seven digits at b = 0.999.
    """
    half = -jnp.log(b) / 2
    return 1 - _without_pole(half) + t * _without_pole(t * half)


def _without_pole(y: Array) -> Array:
    """``1 + 1 / y - coth(y)`` for y > 0; near 0 by the series of coth, good to 4e-14."""
    small, large = jnp.minimum(y, 0.25), jnp.maximum(y, 0.25)
    series = jnp.full_like(y, _COTH[-1])
    for coefficient in reversed(_COTH[:-1]):
        series = coefficient + small * small * series
    return jnp.where(y < 0.25, 1 - small * series, 1 / large - 2 / jnp.expm1(2 * large))


_COTH = (1 / 3, -1 / 45, 2 / 945, -1 / 4725, 2 / 93_555, -1382 / 638_512_875)
