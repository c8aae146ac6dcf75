"""Muon: momentum whose matrices are made orthogonal, and AdamW for what is no matrix."""

import math
from typing import Any

import jax
import jax.numpy as jnp

from fnn.layer import Array, PyTree
from fnn.optimizers.adam import adamw
from fnn.optimizers.descent import descend
from fnn.optimizers.dialects import check_dialect
from fnn.optimizers.hyperparameters import Given, started
from fnn.optimizers.leafwise import leafwise, zeros
from fnn.optimizers.optimizer import Optimizer, compose
from fnn.optimizers.rules import Where, selected
from fnn.optimizers.transforms.decay import decay_weights
from fnn.optimizers.transforms.groups import Parameter, Resolved, partition
from fnn.tree import paths

# The polynomial a · s + b · s³ + c · s⁵ of each singular value s, by Jordan et al. (2024): steep at 0,
# so that small values rise fast, at the price that large ones end anywhere between 0.68 and 1.21.
_COEFFICIENTS = (3.4445, -4.7750, 2.0315)


def orthogonalize(x: Array, eps: float | Array = 1e-8, *, iterations: int = 5) -> Array:
    """Nearly the orthogonal factor u vᵀ of a matrix u s vᵀ, by Newton-Schulz iterations.

        x ← x / (‖x‖ + eps)        x ← a · x + (b · x xᵀ + c · (x xᵀ)²) x, `iterations` times

    The last two axes are the matrix. After 5 iterations, all singular values that were at least 0.002 of
    ‖x‖ are between 0.68 and 1.21; smaller ones are on their way there from 0.

    Source: Jordan et al. (2024), after Bernstein, Newhouse (2024).
    """
    a, b, c = _COEFFICIENTS
    upright = x.shape[-2] > x.shape[-1]
    if upright:  # x xᵀ is the smaller product then
        x = x.swapaxes(-1, -2)

    def improve(_: int, x: Array) -> Array:
        gram = x @ x.swapaxes(-1, -2)
        return a * x + (b * gram + c * gram @ gram) @ x

    length = jnp.sqrt(jnp.square(x).sum(axis=(-2, -1), keepdims=True))
    x = jax.lax.fori_loop(0, iterations, improve, x / (length + eps))
    return x.swapaxes(-1, -2) if upright else x


def scale_by_orthogonal_momentum(
    decay: Given,
    eps: Given,
    *,
    iterations: int = 5,
    dialect: str = "jordan",
    stacked: bool = False,
) -> Optimizer:
    """Muon's direction for parameters that are matrices, kernels, or stacks of these; see `muon`.

    Raises:
      ValueError: a hyperparameter is a number out of range, there are no iterations, or the dialect is
        unknown.
    Raises (by `update`):
      ValueError: a parameter has too few axes for a matrix.
    """
    check_dialect(dialect, "jordan", "optax", "moonlight")
    if iterations < 1:
        raise ValueError(f"expected at least 1 iteration, got {iterations}")

    def prepare(h: Any, t: Array) -> dict[str, Array]:
        return {
            "ahead": h.decay / started(h.decay, t + 1),
            "fresh": (1 - h.decay) / started(h.decay, t),
        }

    def rule(h: Any, g: Array, p: Array, m: Array) -> tuple[Array, Array]:
        m = h.decay * m + (1 - h.decay) * g
        ahead, fresh = (h.ahead, h.fresh) if dialect == "optax" else (h.decay, 1 - h.decay)
        look = ahead * m + fresh * g
        if not p.size:
            return look, m
        shape = _matrix_shape(p.shape, stacked)
        direction = orthogonalize(look.reshape(shape), h.eps, iterations=iterations)
        rows, columns = shape[-2:]
        if dialect == "moonlight":
            scale = 0.2 * math.sqrt(max(rows, columns))
        else:
            scale = math.sqrt(max(1, columns / rows))
        return scale * direction.reshape(p.shape), m

    return leafwise(
        rule,
        hyper={"decay": decay, "eps": eps},
        slots={"mean": zeros},
        prepare=prepare if dialect == "optax" else None,
    )


def muon(
    rate: Given = 0.02,
    decay: Given = 0.95,
    weight_decay: Given = 0.0,
    b1: Given = 0.9,
    b2: Given = 0.999,
    eps: Given = 1e-8,
    adam_rate: Given | None = None,
    *,
    matrices: Where | None = None,
    stacked: Where = (),
    iterations: int = 5,
    dialect: str = "jordan",
) -> Optimizer:
    """Nesterov's momentum, made orthogonal: all directions of a matrix move at the same speed.

        m ← decay · m + (1 - decay) · g        u ← orthogonalize(decay · m + (1 - decay) · g)
        w ← w - rate · (√max(1, columns / rows) · u + weight_decay · w)

    for every matrix w; what is no matrix takes the steps of `adamw` with `b1`, `b2`, `eps` and
    `adam_rate`, or the same rate without one. A kernel (height, width, in, out) is the matrix of
    height · width · in rows and out columns. `print(resolve_matrices(params))` shows who is who.

    Without the path rule `matrices`, every parameter of two or more axes is a matrix; embeddings and the
    last layer are best left to AdamW: ``matrices=("!embedding/*", "!logits/*", "*/w")``. Those that the
    rule `stacked` selects are stacks of matrices along their first axis, as `repeat` makes them.

    Hyperparameters: rate, decay, weight_decay, b1, b2, eps. State: one moment for every matrix, two for
    every other parameter, at least float32.

    Dialects: "jordan" is the rule above. "optax" corrects the bias of both terms,
    decay · m / (1 - decayᵗ⁺¹) + (1 - decay) · g / (1 - decayᵗ). "moonlight" scales by
    0.2 · √max(rows, columns), so that steps are as large as Adam's and its rate and decay fit.

    Sources: Jordan et al. (2024); "moonlight": Liu et al. (2025).

    Raises:
      ValueError: a hyperparameter is a number out of range, there are no iterations, or the dialect is
        unknown.
    Raises (by `init` and `update`):
      ValueError: a pattern matches no path, or takes a parameter that is no matrix.
    """

    def core(stacked: bool) -> Optimizer:
        return compose(
            momentum=scale_by_orthogonal_momentum(
                decay, eps, iterations=iterations, dialect=dialect, stacked=stacked
            ),
            decay=decay_weights(weight_decay),
            rate=descend(rate),
        )

    rest = adamw(rate if adam_rate is None else adam_rate, b1, b2, eps, weight_decay)
    parts = {"matrices": core(False), "rest": rest}
    if stacked != ():
        parts["stacks"] = core(True)
    return partition(parts, lambda params: resolve_matrices(params, matrices, stacked))


def resolve_matrices(
    params: PyTree, matrices: Where | None = None, stacked: Where = ()
) -> Resolved:
    """Which parameters `muon` takes for matrices, stacks of matrices, and the rest; print it.

    Raises:
      ValueError: a pattern matches no path, or takes a parameter that is no matrix.
    """
    stacks = selected(stacked, params)
    least = [3 if stack else 2 for stack in stacks]
    named = paths(params)
    if matrices is None:
        chosen = [leaf.ndim >= axes for (_, leaf), axes in zip(named, least, strict=True)]
    else:
        chosen = selected(matrices, params)
    found = []
    for (path, leaf), mine, axes, stack in zip(named, chosen, least, stacks, strict=True):
        if mine and leaf.ndim < axes:
            what = "a stack of matrices" if stack else "a matrix"
            raise ValueError(
                f"expected {what}, of at least {axes} axes, got shape {leaf.shape} at {path!r}; "
                "leave it out of the rule `matrices`"
            )
        group = ("stacks" if stack else "matrices") if mine else "rest"
        found.append(Parameter(path, group, tuple(leaf.shape), math.prod(leaf.shape)))
    return Resolved(tuple(found))


def _matrix_shape(shape: tuple[int, ...], stacked: bool) -> tuple[int, ...]:
    lead = 1 if stacked else 0
    if len(shape) < lead + 2:
        raise ValueError(f"expected a matrix, of at least {lead + 2} axes, got shape {shape}")
    return (*shape[:lead], math.prod(shape[lead:-1]), shape[-1])
