"""Layers that draw: dropout."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from fnn.dtypes import check_inexact
from fnn.layer import Array, Key, Layer, PyTree, Static, as_arrays


class DropoutCache(NamedTuple):
    """The key alone: the mask is drawn again from it."""

    key: Array  # one key
    dtype: Static[Any]  # of x


def dropout(rate: float) -> Layer:
    """Each element is dropped with probability `rate`; what is kept is scaled up.

    Forward, with each ``m`` 1 with probability 1 - rate: ``y = x · m / (1 - rate)``, so that the mean of
    y is x. Backward: ``dx = dy · m / (1 - rate)`` with the same m. `predict` is the identity.
    Shapes: any. Cache: the key, from which backward draws m again, so no array of x's size is kept.
    Source: Srivastava, Hinton, Krizhevsky, Sutskever, Salakhutdinov (2014), in the inverted form.

    Raises:
      TypeError: x is of integers.
      ValueError: the rate is not in [0, 1), or `forward` gets no key.
    """
    if not 0 <= rate < 1:
        raise ValueError(f"dropout: expected 0 <= rate < 1, the fraction dropped, got {rate}")
    keep = 1 - rate

    def init(key: Key, x: Array) -> tuple[tuple[()], tuple[()]]:
        del key, x  # no parameters, no state
        return (), ()

    def apply(key: Array, x: Array) -> Array:
        mask = jax.random.bernoulli(key, keep, x.shape)
        return jnp.where(mask, x / keep, 0)

    def forward(
        params: PyTree, state: PyTree, x: Array, key: Key
    ) -> tuple[Array, PyTree, DropoutCache]:
        del params  # there are none
        if key is None:
            raise ValueError(f"dropout({rate}): expected a key to draw the mask with, got None")
        x = as_arrays(x)
        check_inexact(x)
        return apply(key, x), state, DropoutCache(key, Static(x.dtype))

    def backward(params: PyTree, cache: DropoutCache, dy: Array) -> tuple[PyTree, Array]:
        return params, apply(cache.key, as_arrays(dy).astype(cache.dtype.value))

    def predict(params: PyTree, state: PyTree, x: Array) -> Array:
        del params, state  # there are none
        check_inexact(x)
        return as_arrays(x)

    return Layer(f"dropout({rate})", init, forward, backward, predict)
