"""Adam's relatives: other means of the gradients over other measures of their size."""

from typing import Any

import jax.numpy as jnp

from fnn.layer import Array
from fnn.optimizers.descent import descend
from fnn.optimizers.dialects import check_dialect
from fnn.optimizers.hyperparameters import Given, started
from fnn.optimizers.leafwise import full, leafwise, zeros
from fnn.optimizers.optimizer import Optimizer, compose


def adamax(
    rate: Given = 2e-3,
    b1: Given = 0.9,
    b2: Given = 0.999,
    eps: Given = 1e-8,
    *,
    dialect: str = "torch",
) -> Optimizer:
    """Adam with a decaying maximum of the gradients' sizes in place of the root of their mean square.

        m ← b1 · m + (1 - b1) · g        v ← max(b2 · v, |g| + eps)        t ← t + 1
        params ← params - rate · (m / (1 - b1ᵗ)) / v

    Hyperparameters: rate, b1, b2, eps. State: m and v for every parameter, at least float32.

    Dialects: "torch" is the rule above, also optax's. "keras" adds eps to the maximum,
    v ← max(b2 · v, |g|), and divides by v + eps. The paper has no eps, as both have with eps = 0.

    Source: Kingma, Ba (2015), section 7.1.

    Raises:
      ValueError: a hyperparameter is a number out of range, or the dialect is unknown.
    """
    check_dialect(dialect, "torch", "keras")

    def prepare(h: Any, t: Array) -> dict[str, Array]:
        return {"mean_share": 1 - h.b1, "mean_scale": 1 / started(h.b1, t)}

    def rule(h: Any, g: Array, p: Array, m: Array, v: Array) -> tuple[Array, Array, Array]:
        del p  # the step depends on the gradients alone
        m = h.b1 * m + h.mean_share * g
        if dialect == "keras":
            v = jnp.maximum(h.b2 * v, jnp.abs(g))
            return m * h.mean_scale / (v + h.eps), m, v
        v = jnp.maximum(h.b2 * v, jnp.abs(g) + h.eps)
        return m * h.mean_scale / v, m, v

    moments = leafwise(
        rule,
        hyper={"b1": b1, "b2": b2, "eps": eps},
        slots={"mean": zeros, "maximum": zeros},
        prepare=prepare,
    )
    return compose(moments=moments, rate=descend(rate))


def amsgrad(
    rate: Given = 1e-3,
    b1: Given = 0.9,
    b2: Given = 0.999,
    eps: Given = 1e-8,
    *,
    dialect: str = "torch",
) -> Optimizer:
    """Adam that divides by the largest mean square so far, so that no parameter's rate grows again.

        m ← b1 · m + (1 - b1) · g        v ← b2 · v + (1 - b2) · g²        t ← t + 1
        w ← max(w, v)
        params ← params - rate · (m / (1 - b1ᵗ)) / (√(w / (1 - b2ᵗ)) + eps)

    Hyperparameters: rate, b1, b2, eps. State: m, v and w for every parameter, at least float32.

    Dialects: "torch" is the rule above. "optax" takes the maximum of the corrected squares,
    w ← max(w, v / (1 - b2ᵗ)), so that a large first gradient is never forgotten. "keras" adds eps to the
    uncorrected root, rate · √(1 - b2ᵗ) / (1 - b1ᵗ) · m / (√w + eps). "paper" corrects nothing,
    rate · m / (√w + eps).

    Source: Reddi, Kale, Kumar (2018).

    Raises:
      ValueError: a hyperparameter is a number out of range, or the dialect is unknown.
    """
    check_dialect(dialect, "torch", "optax", "keras", "paper")

    def prepare(h: Any, t: Array) -> dict[str, Array]:
        mean, square = started(h.b1, t), started(h.b2, t)
        if dialect == "keras":
            return {**_shares(h), "mean_scale": jnp.sqrt(square) / mean}
        return {**_shares(h), "mean_scale": 1 / mean, "square_scale": 1 / square}

    def rule(h: Any, g: Array, p: Array, m: Array, v: Array, w: Array) -> tuple[Array, ...]:
        del p  # the step depends on the gradients alone
        m = h.b1 * m + h.mean_share * g
        v = h.b2 * v + h.square_share * jnp.square(g)
        w = jnp.maximum(w, v * h.square_scale if dialect == "optax" else v)
        root = jnp.sqrt(w * h.square_scale if dialect == "torch" else w)
        mean = m if dialect == "paper" else m * h.mean_scale
        return mean / (root + h.eps), m, v, w

    moments = leafwise(
        rule,
        hyper={"b1": b1, "b2": b2, "eps": eps},
        slots={"mean": zeros, "square": zeros, "largest": zeros},
        prepare=prepare,
    )
    return compose(moments=moments, rate=descend(rate))


def yogi(
    rate: Given = 1e-2,
    b1: Given = 0.9,
    b2: Given = 0.999,
    eps: Given = 1e-3,
    *,
    initial: float = 1e-6,
    dialect: str = "paper",
) -> Optimizer:
    """Adam whose mean square moves by at most a share of g², so that it forgets slowly.

        m ← b1 · m + (1 - b1) · g        v ← v - (1 - b2) · sign(v - g²) · g²
        params ← params - rate · m / (√v + eps)

    Hyperparameters: rate, b1, b2, eps. State: m and v for every parameter, at least float32; v begins at
    `initial`, m at 0.

    Dialects: "paper" is the rule above. "optax" begins both m and v at `initial`, and corrects both as
    Adam does, m / (1 - b1ᵗ) over √(v / (1 - b2ᵗ)) + eps, though they began at no zero.

    Source: Zaheer, Reddi, Sachan, Kale, Kumar (2018).

    Raises:
      ValueError: a hyperparameter is a number out of range, `initial` is negative or not finite, or the
        dialect is unknown.
    """
    check_dialect(dialect, "paper", "optax")
    if not 0 <= initial < float("inf"):
        raise ValueError(f"expected initial finite and at least 0, got {initial}")

    def begun(p: Array) -> Array:
        return full(p, initial)

    def prepare(h: Any, t: Array) -> dict[str, Array]:
        mean, square = started(h.b1, t), started(h.b2, t)
        return {**_shares(h), "mean_scale": 1 / mean, "square_scale": 1 / square}

    def rule(h: Any, g: Array, p: Array, m: Array, v: Array) -> tuple[Array, Array, Array]:
        del p  # the step depends on the gradients alone
        m = h.b1 * m + h.mean_share * g
        square = jnp.square(g)
        v = v - h.square_share * jnp.sign(v - square) * square
        if dialect == "optax":
            return m * h.mean_scale / (jnp.sqrt(v * h.square_scale) + h.eps), m, v
        return m / (jnp.sqrt(v) + h.eps), m, v

    moments = leafwise(
        rule,
        hyper={"b1": b1, "b2": b2, "eps": eps},
        slots={"mean": begun if dialect == "optax" else zeros, "square": begun},
        prepare=prepare,
    )
    return compose(moments=moments, rate=descend(rate))


def adabelief(
    rate: Given = 1e-3,
    b1: Given = 0.9,
    b2: Given = 0.999,
    eps: Given = 1e-16,
    eps_root: Given = 1e-16,
) -> Optimizer:
    """Adam that measures how far the gradients are from their mean: long steps where they agree.

        m ← b1 · m + (1 - b1) · g        v ← b2 · v + (1 - b2) · (g - m)² + eps_root        t ← t + 1
        params ← params - rate · (m / (1 - b1ᵗ)) / (√(v / (1 - b2ᵗ)) + eps)

    Hyperparameters: rate, b1, b2, eps, eps_root. State: m and v for every parameter, at least float32.
    eps_root is added at every step and piles up to eps_root / (1 - b2); the paper has one eps for both
    places, as the defaults do.

    Source: Zhuang et al. (2020).

    Raises:
      ValueError: a hyperparameter is a number out of range.
    """

    def prepare(h: Any, t: Array) -> dict[str, Array]:
        mean, square = started(h.b1, t), started(h.b2, t)
        return {**_shares(h), "mean_scale": 1 / mean, "square_scale": 1 / square}

    def rule(h: Any, g: Array, p: Array, m: Array, v: Array) -> tuple[Array, Array, Array]:
        del p  # the step depends on the gradients alone
        m = h.b1 * m + h.mean_share * g
        v = h.b2 * v + h.square_share * jnp.square(g - m) + h.eps_root
        return m * h.mean_scale / (jnp.sqrt(v * h.square_scale) + h.eps), m, v

    moments = leafwise(
        rule,
        hyper={"b1": b1, "b2": b2, "eps": eps, "eps_root": eps_root},
        slots={"mean": zeros, "square": zeros},
        prepare=prepare,
    )
    return compose(moments=moments, rate=descend(rate))


def _shares(h: Any) -> dict[str, Array]:
    """What a new gradient and its square count for."""
    return {"mean_share": 1 - h.b1, "square_share": 1 - h.b2}
