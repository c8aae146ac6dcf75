"""Normalization of every example by itself, over groups of channels: group norm and instance norm."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from fnn.initializers import Initializer, ones, zeros
from fnn.layer import Array, Key, Layer, pure
from fnn.layers.normalization import (
    Affine,
    NormParams,
    check_eps,
    check_input,
    gradients,
    scaled,
    shifted,
    wide_dtype,
)


class GroupNormCache(NamedTuple):
    """The input and two numbers for each channel of each example, the same within a group."""

    x: Array  # (N, …, C)
    offset: Array  # (N, 1, C), at least float32: μ less the group's first element
    rstd: Array  # (N, 1, C), 1 / √(σ² + eps)


def group_norm(
    groups: int,
    *,
    scale: bool = True,
    bias: bool = True,
    eps: float = 1e-5,
    scale_init: Initializer = ones,
    bias_init: Initializer = zeros,
) -> Layer:
    """Normalization of every example over each of `groups` groups of neighbouring channels.

    Forward, with sums over the positions and over the channels of a group, M elements in each:

        μ = Σ x / M      σ² = Σ (x - μ)² / M      x̂ = (x - μ) / √(σ² + eps)      y = scale · x̂ + bias

    The variance is taken in two passes, and a group's first element is taken away from it before its
    mean is, so that nothing is lost for a mean far from 0. Backward, with g = scale · dy:

        dscale = Σ_n Σ_positions dy · x̂      dbias = Σ_n Σ_positions dy
        dx = 1 / √(σ² + eps) · (g - Σ g / M - x̂ · Σ g x̂ / M)

    The batch is not looked at across, so that it may be of one example; one group is a layer norm of
    whole images. Shapes: x (N, …, C) such as (N, H, W, C), y the same, scale and bias (C,). Parameters
    take the dtype of x; statistics are at least float32. Cache: x, μ - x₁ and 1/√(σ² + eps). There is no
    state: `predict` is `forward`. Source: Wu, He (2018).

    Raises:
      TypeError: x is of integers.
      ValueError: groups is not above 0 or eps not above 0; x has fewer than two axes, no position, a
        number of channels that the groups do not divide, or another one than the parameters.
    """
    if groups < 1:
        raise ValueError(f"group_norm: expected at least one group, got {groups}")
    affine = Affine(scale_init if scale else None, bias_init if bias else None)
    return _normalization("group_norm", f"group_norm({groups})", groups, 2, affine, eps)


def instance_norm(
    *,
    scale: bool = True,
    bias: bool = True,
    eps: float = 1e-5,
    scale_init: Initializer = ones,
    bias_init: Initializer = zeros,
) -> Layer:
    """Normalization of every channel of every example over its positions: contrast is taken away.

    Forward and Backward: those of `group_norm` with a group for each channel, so that M is the number
    of positions. Shapes: x (N, …, C) with an axis of positions at least, such as (N, H, W, C), y the
    same, scale and bias (C,). Parameters take the dtype of x; statistics are at least float32. Cache: x,
    μ - x₁ and 1/√(σ² + eps). There is no state: `predict` is `forward`.
    Source: Ulyanov, Vedaldi, Lempitsky (2016).

    Raises:
      TypeError: x is of integers.
      ValueError: eps is not above 0; x has fewer than three axes, no position, or another number of
        channels than the parameters.
    """
    affine = Affine(scale_init if scale else None, bias_init if bias else None)
    return _normalization("instance_norm", "instance_norm", None, 3, affine, eps)


def _normalization(
    kind: str, name: str, groups: int | None, axes: int, affine: Affine, eps: float
) -> Layer:
    """Over `groups` groups, or every channel by itself where that is None."""
    check_eps(kind, eps)

    def check(params: Sequence[Array | None], x: Array) -> None:
        form = "N, …" if axes == 2 else "N, positions, …"
        check_input(kind, params, x, axes=axes, form=form)
        if groups is not None and x.shape[-1] % groups:
            raise ValueError(
                f"{kind}: expected channels that {groups} groups divide evenly, got {x.shape[-1]}"
            )
        if 0 in x.shape[1:]:
            raise ValueError(f"{kind}: expected positions to take a mean of, got x {x.shape}")

    def mean_of_groups(of_channels: Array, positions: int) -> Array:
        """(N, C) sums over positions -> (N, 1, C), the mean over positions and group."""
        n, channels = of_channels.shape
        if groups is None:
            return of_channels[:, None] / positions
        size = channels // groups
        means = of_channels.reshape(n, groups, size).sum(axis=2, keepdims=True) / (size * positions)
        return jnp.broadcast_to(means, (n, groups, size)).reshape(n, 1, channels)

    def near_zero(x: Array, dtype: Any) -> Array:
        """(N, positions, C), less the first element of each group, which cancels in the mean."""
        wide = _positions(x).astype(dtype)
        size = 1 if groups is None else x.shape[-1] // groups
        first = jnp.repeat(wide[:, :1, ::size], size, axis=2)
        return wide - jax.lax.stop_gradient(first)

    def init(key: Key, x: Array) -> NormParams:
        check((), x)
        return affine.init(key, x)

    def forward(params: NormParams, x: Array) -> tuple[Array, GroupNormCache]:
        check(params, x)
        wide = near_zero(x, wide_dtype(params, x))
        offset = mean_of_groups(wide.sum(axis=1), wide.shape[1])
        centred = wide - offset
        var = mean_of_groups((centred * centred).sum(axis=1), wide.shape[1])
        rstd = jax.lax.rsqrt(var + eps)
        y = shifted(centred * scaled(rstd, params), params)
        return y.reshape(x.shape).astype(x.dtype), GroupNormCache(x, offset, rstd)

    def backward(params: NormParams, cache: GroupNormCache, dy: Array) -> tuple[NormParams, Array]:
        x, offset, rstd = cache
        centred = near_zero(x, offset.dtype) - offset
        dy = _positions(dy).astype(offset.dtype)
        # The sums over positions of one pass serve the parameters and, over each group, x.
        sums = dy.sum(axis=1)
        sums_normalized = (dy * centred).sum(axis=1) * rstd[:, 0]
        along_ones = mean_of_groups(scaled(sums, params), dy.shape[1])
        slope = mean_of_groups(scaled(sums_normalized, params), dy.shape[1]) * rstd
        dx = rstd * (scaled(dy, params) - along_ones - centred * slope)
        dparams = gradients(params, sums_normalized.sum(axis=0), sums.sum(axis=0))
        return dparams, dx.reshape(x.shape).astype(x.dtype)

    return pure(name, forward, backward, init)


def _positions(x: Array) -> Array:
    """(N, …, C) -> (N, positions, C)."""
    return x.reshape(x.shape[0], math.prod(x.shape[1:-1]), x.shape[-1])
