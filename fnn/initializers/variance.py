"""Draws whose variance is that of the fans: Xavier, He, LeCun, and the form that they are cases of."""

import math
from typing import Any, Literal

import jax

from fnn.initializers.draws import draw_normal, draw_uniform, truncated_normal
from fnn.initializers.initializer import Initializer, fans

Fan = Literal["in", "out", "average"]
Law = Literal["normal", "uniform", "truncated"]


def variance_scaling(scale: float, fan: Fan = "in", law: Law = "normal") -> Initializer:
    """Independent draws with mean 0 and variance ``scale / fan``.

    The fan is fan_in, which keeps the variance of the signals, fan_out, which keeps that of the
    gradients, or the average of both. The law is normal, uniform in ±√(3 · variance), or normal
    without its tails, with the same variance after the cut.

        Xavier: variance_scaling(1, "average")    LeCun: variance_scaling(1)    He: variance_scaling(2)

    LeCun's is also what Caffe calls Xavier's; He's form for gradients is ``variance_scaling(2, "out")``.
    Source: Glorot, Bengio (2010); He, Zhang, Ren, Sun (2015).

    Raises:
      ValueError: a scale that is negative or not finite, or an unknown fan or law.
    """
    if not (math.isfinite(scale) and scale >= 0):
        raise ValueError(f"variance_scaling: expected a scale finite and at least 0, got {scale}")
    for name, given, known in (
        ("fan", fan, ("in", "out", "average")),
        ("law", law, ("normal", "uniform", "truncated")),
    ):
        if given not in known:
            raise ValueError(
                f"variance_scaling: expected {name} to be one of {list(known)}, got {given!r}"
            )

    def initializer(
        key: jax.Array | None, shape: tuple[int, ...], dtype: Any, groups: int = 1
    ) -> jax.Array:
        fan_in, fan_out = fans(shape, groups)
        chosen = {"in": fan_in, "out": fan_out, "average": (fan_in + fan_out) / 2}[fan]
        stddev = math.sqrt(scale / (chosen or 1))  # a kernel of no input has no element to draw
        if law == "truncated":
            return truncated_normal(stddev)(key, shape, dtype)
        if law == "uniform":
            limit = math.sqrt(3) * stddev
            return draw_uniform(key, shape, dtype, -limit, limit)
        return draw_normal(key, shape, dtype, stddev)

    return initializer


def xavier_normal(
    key: jax.Array | None, shape: tuple[int, ...], dtype: Any, groups: int = 1
) -> jax.Array:
    """N(0, 2 / (fan_in + fan_out)): keeps the variance of signals and of gradients (Glorot, 2010)."""
    return variance_scaling(1, "average", "normal")(key, shape, dtype, groups)


def xavier_uniform(
    key: jax.Array | None, shape: tuple[int, ...], dtype: Any, groups: int = 1
) -> jax.Array:
    """U(−a, a) with a = √(6 / (fan_in + fan_out)): the same variance (Glorot, Bengio, 2010)."""
    return variance_scaling(1, "average", "uniform")(key, shape, dtype, groups)


def he_normal(
    key: jax.Array | None, shape: tuple[int, ...], dtype: Any, groups: int = 1
) -> jax.Array:
    """N(0, 2 / fan_in): a rectifier halves the variance, and the 2 restores it (He et al., 2015)."""
    return variance_scaling(2, "in", "normal")(key, shape, dtype, groups)


def he_uniform(
    key: jax.Array | None, shape: tuple[int, ...], dtype: Any, groups: int = 1
) -> jax.Array:
    """U(−a, a) with a = √(6 / fan_in): the same variance (He et al., 2015)."""
    return variance_scaling(2, "in", "uniform")(key, shape, dtype, groups)


def lecun_normal(
    key: jax.Array | None, shape: tuple[int, ...], dtype: Any, groups: int = 1
) -> jax.Array:
    """N(0, 1 / fan_in): a linear map keeps the variance (LeCun, Bottou, Orr, Müller, 1998)."""
    return variance_scaling(1, "in", "normal")(key, shape, dtype, groups)


def lecun_uniform(
    key: jax.Array | None, shape: tuple[int, ...], dtype: Any, groups: int = 1
) -> jax.Array:
    """U(−a, a) with a = √(3 / fan_in): the same variance (LeCun, Bottou, Orr, Müller, 1998)."""
    return variance_scaling(1, "in", "uniform")(key, shape, dtype, groups)
