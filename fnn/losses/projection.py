"""A linear layer that does not multiply: a loss takes its factors, and never holds the product."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from fnn.dtypes import check_inexact, computing_dtype, parameter_dtype
from fnn.initializers import Initializer, he_normal, zeros
from fnn.layer import Array, Key, Layer, Static, pure
from fnn.random import child_key


class ProjectionParams(NamedTuple):
    """What a projection learns; D inputs, F outputs."""

    w: Array  # (D, F)
    b: Array | None  # (F,), None without a bias


class Projected(NamedTuple):
    """The product x w + b as its factors; D inputs, F outputs."""

    x: Array  # (…, D)
    w: Array  # (D, F)
    b: Array | None  # (F,), None without a bias

    def product(self) -> Array:
        """``x w + b``, (…, F), for whoever wants it after all: to sample from, to look at."""
        dtype = computing_dtype(*self)
        y = self.x.astype(dtype) @ self.w.astype(dtype)
        return y if self.b is None else y + jnp.broadcast_to(self.b.astype(dtype), y.shape)


def projection(
    features: int,
    *,
    bias: bool = True,
    kernel_init: Initializer = he_normal,
    bias_init: Initializer = zeros,
) -> Layer:
    """`linear` whose output is not x w + b but the three of them, ``Projected(x, w, b)``.

    It is the head of a network over a large vocabulary, for `losses.linear_softmax_cross_entropy`, which
    takes the product in blocks: the logits, often the largest array of the whole step, are never held.

        net = chain(body, head=losses.projection(50_257))
        loss = losses.linear_softmax_cross_entropy()
        logits = net.predict(params, state, x).product()

    Forward: ``y = (x, w, b)``. Backward: ``dx = dy.x``, ``dw = dy.w``, ``db = dy.b``: what the loss
    found. Shapes: x (…, D), w (D, features), b (features,); the parameters take the dtype of x, and
    keep it where x comes in another. Cache: nothing but x's dtype. Source: Hsu et al. (2024), whose loss
    takes the factors as well.

    Raises:
      TypeError: x is of integers.
      ValueError: x has no axis, no feature, or another width than the parameters were made for.
    """
    if features < 1:
        raise ValueError(f"projection: expected at least one feature, got {features}")

    def init(key: Key, x: Array) -> ProjectionParams:
        if x.ndim < 1 or x.shape[-1] < 1:
            raise ValueError(
                f"projection: expected x of shape (…, features) with a feature at least, got {x.shape}"
            )
        dtype = parameter_dtype(x)
        w = kernel_init(child_key(key, "w"), (x.shape[-1], features), dtype)
        b = bias_init(child_key(key, "b"), (features,), dtype) if bias else None
        return ProjectionParams(w, b)

    def forward(params: ProjectionParams, x: Array) -> tuple[Projected, Static[Any]]:
        inputs = params.w.shape[0]
        if x.ndim < 1 or x.shape[-1] != inputs:
            raise ValueError(f"projection: expected x of shape (…, {inputs}), got {x.shape}")
        check_inexact(x)
        return Projected(x, *params), Static(x.dtype)

    def backward(
        params: ProjectionParams, cache: Static[Any], dy: Projected
    ) -> tuple[ProjectionParams, Array]:
        dparams = jax.tree.map(lambda d, p: d.astype(p.dtype), ProjectionParams(dy.w, dy.b), params)
        return dparams, dy.x.astype(cache.value)

    return pure(f"projection({features})", forward, backward, init)
