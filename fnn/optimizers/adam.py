"""Adam, and AdamW, which keeps the decay of the weights out of its moments."""

from typing import Any

import jax.numpy as jnp

from fnn.layer import Array
from fnn.optimizers.descent import descend
from fnn.optimizers.dialects import check_dialect
from fnn.optimizers.hyperparameters import Given, started
from fnn.optimizers.leafwise import leafwise, zeros
from fnn.optimizers.optimizer import Optimizer, compose
from fnn.optimizers.rules import Where, masked
from fnn.optimizers.transforms.decay import decay_weights


def scale_by_moments(b1: Given, b2: Given, eps: Given, *, dialect: str = "paper") -> Optimizer:
    """Adam's direction: the mean of the gradients over the root of the mean of their squares.

        m ← b1 · m + (1 - b1) · g        v ← b2 · v + (1 - b2) · g²        t ← t + 1
        "paper":   u = (m / (1 - b1ᵗ)) / (√(v / (1 - b2ᵗ)) + eps)
        "keras":   u = (m / (1 - b1ᵗ)) · √(1 - b2ᵗ) / (√v + eps)
        "cs231n":  u = m / (√v + eps)

    The dialects are explained at `adam`. Source: Kingma, Ba (2015).

    Raises:
      ValueError: b1 or b2 is a number outside of [0, 1), or eps one that is negative or not finite; or
        the dialect is unknown.
    """
    check_dialect(dialect, "paper", "keras", "cs231n")

    def prepare(h: Any, t: Array) -> dict[str, Array]:
        # Scalars of the step, so that no arithmetic on them is left for every parameter.
        mean, square = started(h.b1, t), started(h.b2, t)
        shares = {"mean_share": 1 - h.b1, "square_share": 1 - h.b2}
        if dialect == "keras":
            return {**shares, "mean_scale": jnp.sqrt(square) / mean}
        return {**shares, "mean_scale": 1 / mean, "square_scale": 1 / square}

    def rule(h: Any, g: Array, p: Array, m: Array, v: Array) -> tuple[Array, Array, Array]:
        del p  # the step depends on the gradients alone
        m = h.b1 * m + h.mean_share * g
        v = h.b2 * v + h.square_share * jnp.square(g)
        if dialect == "cs231n":
            return m / (jnp.sqrt(v) + h.eps), m, v
        if dialect == "keras":
            return m * h.mean_scale / (jnp.sqrt(v) + h.eps), m, v
        return m * h.mean_scale / (jnp.sqrt(v * h.square_scale) + h.eps), m, v

    return leafwise(
        rule,
        hyper={"b1": b1, "b2": b2, "eps": eps},
        slots={"mean": zeros, "square": zeros},
        prepare=prepare,
    )


def adam(
    rate: Given = 1e-3,
    b1: Given = 0.9,
    b2: Given = 0.999,
    eps: Given = 1e-8,
    *,
    dialect: str = "paper",
) -> Optimizer:
    """Adaptive moments, with the correction of their bias towards the zeros that they start from.

        m ← b1 · m + (1 - b1) · g        v ← b2 · v + (1 - b2) · g²        t ← t + 1
        params ← params - rate · (m / (1 - b1ᵗ)) / (√(v / (1 - b2ᵗ)) + eps)

    Hyperparameters: rate, b1, b2, eps. State: two moments for every parameter, at least float32. Under a
    schedule of b1 or b2, or after a change of one, the correction 1 - bᵗ is by the present b, as if all
    steps had been made with it. A gradient above 1.8e19, whose square is infinite in float32, stops its
    parameter for good, and does not show in the update; `train.step` and `skip_nonfinite` refuse it.

    Dialects: "paper" is the rule above, Algorithm 1 of the paper, which PyTorch and optax follow too.
    "keras" corrects both moments in the rate, as the paper proposes for speed; eps is then added to the
    uncorrected root, rate · √(1 - b2ᵗ) / (1 - b1ᵗ) · m / (√v + eps), and weighs 1 / √(1 - b2ᵗ) times as
    much: 32 times at the first step. "cs231n" is the short form of the course's notes without correction,
    rate · m / (√v + eps): its first step is (1 - b1) / √(1 - b2) = 3.16 times too long.

    Source: Kingma, Ba (2015).

    Raises:
      ValueError: a hyperparameter is a number out of range, or the dialect is unknown.
    """
    return compose(moments=scale_by_moments(b1, b2, eps, dialect=dialect), rate=descend(rate))


def adamw(
    rate: Given = 1e-3,
    b1: Given = 0.9,
    b2: Given = 0.999,
    eps: Given = 1e-8,
    weight_decay: Given = 1e-2,
    *,
    decayed: Where = "*",
    dialect: str = "torch",
) -> Optimizer:
    """Adam with decoupled weight decay: all weights shrink by the same share, whatever their gradients.

        m ← b1 · m + (1 - b1) · g        v ← b2 · v + (1 - b2) · g²        t ← t + 1
        u ← (m / (1 - b1ᵗ)) / (√(v / (1 - b2ᵗ)) + eps)
        params ← params - rate · (u + weight_decay · params)

    Hyperparameters: rate, b1, b2, eps, weight_decay. State: two moments for every parameter, at least
    float32. Only what the path rule `decayed` selects decays, such as ``("!*/b", "!*/scale", "*")``.

    Dialects: "torch" is the rule above, also optax's and Keras's: the rate multiplies the decay, so that
    another rate is another decay. "paper" keeps the two apart, params - rate · u - weight_decay · params.
    The multiplier of the paper's schedule acts on both; give both as schedules for that.

    Source: Loshchilov, Hutter (2019).

    Raises:
      ValueError: a hyperparameter is a number out of range, or the dialect is unknown; or, by `init` and
        `update`, a pattern of `decayed` matches no path.
    """
    check_dialect(dialect, "torch", "paper")
    moments = scale_by_moments(b1, b2, eps)
    if dialect == "paper":
        return compose(moments=moments, rate=descend(rate), decay=_shrink(weight_decay, decayed))
    return compose(moments=moments, decay=decay_weights(weight_decay, decayed), rate=descend(rate))


def _shrink(weight_decay: Given, where: Where) -> Optimizer:
    """``u = g - weight_decay · p``, for an update that the rate has already multiplied."""

    def rule(h: Any, g: Array, p: Array) -> tuple[Array]:
        return (g - h.weight_decay * p,)

    transform = leafwise(rule, hyper={"weight_decay": weight_decay})
    return transform if where == "*" else masked(transform, where)
