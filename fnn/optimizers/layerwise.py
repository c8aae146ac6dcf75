"""Layer-wise rates: LARS and LAMB, whose steps are a share of the length of what they change."""

from typing import Any

import jax.numpy as jnp

from fnn.layer import Array
from fnn.optimizers.adam import scale_by_moments
from fnn.optimizers.descent import descend, velocity
from fnn.optimizers.dialects import check_dialect
from fnn.optimizers.hyperparameters import Given
from fnn.optimizers.leafwise import leafwise
from fnn.optimizers.optimizer import Optimizer, compose
from fnn.optimizers.rules import Where, masked


def scale_by_trust_ratio(
    weight_decay: Given,
    trust: Given | None = None,
    *,
    adapted: Where = "*",
    dialect: str = "optax",
) -> Optimizer:
    """The direction with decayed weights, as long as the parameter that it changes, or a share of that.

        d = g + weight_decay · p
        "optax":  u = trust · d · ‖p‖ / ‖d‖
        "paper":  u = trust · d · ‖p‖ / (‖g‖ + weight_decay · ‖p‖)

    `trust` is the share, all of the length without it. Norms are over one parameter array, as sums of
    squares in float32 at least: elements below 1e-19 count as zeros there. Where a norm is 0 there is no
    ratio, and u = d: a parameter that begins at 0 could not leave it, and a gradient of 0 has no
    direction. What the path rule `adapted` does not select passes as it came, without decay.

    Sources: You, Gitman, Ginsburg (2017); You et al. (2020).

    Raises:
      ValueError: a hyperparameter is a number out of range, or the dialect is unknown.
    """
    check_dialect(dialect, "optax", "paper")

    def rule(h: Any, g: Array, p: Array) -> tuple[Array]:
        d = g + h.weight_decay * p
        length = _norm(p)
        along = _norm(g) + h.weight_decay * length if dialect == "paper" else _norm(d)
        without = (length == 0) | (along == 0)
        share = length if trust is None else h.trust * length
        ratio = share / jnp.where(without, 1, along)
        return (d * jnp.where(without, 1, ratio),)

    given = {"weight_decay": weight_decay} | ({} if trust is None else {"trust": trust})
    transform = leafwise(rule, hyper=given)
    return transform if adapted == "*" else masked(transform, adapted)


def lars(
    rate: Given = 1.0,
    decay: Given = 0.9,
    weight_decay: Given = 1e-4,
    trust: Given = 1e-3,
    *,
    adapted: Where = "*",
    dialect: str = "paper",
) -> Optimizer:
    """Momentum with a rate for every parameter array: each step is a share of the array's length.

        d ← g + weight_decay · p
        r ← trust · ‖p‖ / (‖g‖ + weight_decay · ‖p‖), and 1 where a norm is 0
        v ← decay · v - rate · r · d
        params ← params + v

    Hyperparameters: rate, decay, weight_decay, trust. State: v for every parameter, at least float32.
    Only what the path rule `adapted` selects is adapted and decays, the rest takes steps of momentum:
    biases and scales are best left out, ``adapted=("!*/b", "!*/scale", "*")``.

    Dialects: "paper" is the rule above. "optax" divides by ‖d‖, r ← trust · ‖p‖ / ‖d‖.

    Source: You, Gitman, Ginsburg (2017).

    Raises:
      ValueError: a hyperparameter is a number out of range, or the dialect is unknown; or, by `init` and
        `update`, a pattern of `adapted` matches no path.
    """
    ratio = scale_by_trust_ratio(weight_decay, trust, adapted=adapted, dialect=dialect)
    return compose(trust=ratio, velocity=velocity(rate, decay))


def lamb(
    rate: Given = 1e-3,
    b1: Given = 0.9,
    b2: Given = 0.999,
    eps: Given = 1e-6,
    weight_decay: Given = 1e-2,
    *,
    adapted: Where = "*",
) -> Optimizer:
    """AdamW whose step is a share of the length of each parameter array, for large batches.

        m ← b1 · m + (1 - b1) · g        v ← b2 · v + (1 - b2) · g²        t ← t + 1
        d ← (m / (1 - b1ᵗ)) / (√(v / (1 - b2ᵗ)) + eps) + weight_decay · params
        r ← ‖params‖ / ‖d‖, and 1 where a norm is 0
        params ← params - rate · r · d

    Hyperparameters: rate, b1, b2, eps, weight_decay. State: two moments for every parameter, at least
    float32. Only what the path rule `adapted` selects is adapted and decays, the rest takes Adam's steps:
    biases and scales are best left out, ``adapted=("!*/b", "!*/scale", "*")``.

    Source: You et al. (2020).

    Raises:
      ValueError: a hyperparameter is a number out of range; or, by `init` and `update`, a pattern of
        `adapted` matches no path.
    """
    ratio = scale_by_trust_ratio(weight_decay, adapted=adapted)
    return compose(moments=scale_by_moments(b1, b2, eps), trust=ratio, rate=descend(rate))


def _norm(x: Array) -> Array:
    squares = jnp.square(x)
    # Column sums first: XLA:CPU vectorizes those.
    columns = squares.sum(axis=tuple(range(x.ndim - 1))) if x.ndim > 1 else squares
    return jnp.sqrt(columns.sum())
