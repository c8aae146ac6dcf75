"""Layers that draw: dropout of elements and of channels, alpha dropout, Gaussian noise.

Each keeps its key for the backward pass and draws the same numbers again, so that no array of x's size
waits between the passes. x's precision does not change what is drawn. `predict` draws nothing.
"""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax.numpy as jnp

from fnn.dtypes import accumulation_dtype, check_inexact
from fnn.layer import Array, Key, Layer, PyTree, Static, as_arrays
from fnn.layers.noise_draws import (
    checked_key,
    checked_rate,
    kept,
    kept_for_many,
    normals,
    share_kept,
)

Scale = Literal["train", "test"]

# -λα of selu: what a unit gives that is off.
_SELU_OFF = -1.0507009873554805 * 1.6732632423543772


class NoiseCache(NamedTuple):
    """The key alone: what was drawn is drawn again from it."""

    key: Array  # one key
    dtype: Static[Any]  # of x


class DtypeCache(NamedTuple):
    """Nothing but x's dtype, for a layer whose derivative does not know what was drawn."""

    dtype: Static[Any]  # of x


def dropout(rate: float, *, scale: Scale = "train") -> Layer:
    """Each element is dropped with probability `rate`.

    Forward, with each ``m`` 1 with probability ``p = 1 - rate``: ``y = x · m / p``, so that the mean of
    y is x. Backward: ``dx = dy · m / p`` with the same m. `predict` is the identity. With `scale` "test"
    the division is left to `predict`: ``y = x · m``, ``dx = dy · m``, and predict gives the mean, p x. p
    is taken to the nearest multiple of 2⁻¹⁶, in all three.

    Shapes: any. Cache: the key, from which backward draws m again, so no array of x's size is kept.
    Source: Srivastava, Hinton, Krizhevsky, Sutskever, Salakhutdinov (2014): their form is "test", which
    multiplies by the probability of *keeping*; "train" is the inverted form of their section 10.

    Args:
      rate: the fraction dropped.
      scale: the pass that makes up for what is dropped.

    Raises:
      TypeError: x is of integers.
      ValueError: the rate is not in [0, 1), no such scale, or `forward` gets no key.
    """
    checked_rate(rate, "dropout")
    if scale not in ("train", "test"):
        raise ValueError(f'dropout: expected scale "train" or "test", got {scale!r}')
    share = share_kept(1 - rate)
    factor = 1 / share if scale == "train" else 1.0

    def apply(key: Array, x: Array) -> Array:
        return jnp.where(kept(key, 1 - rate, x.shape), x * factor, 0)

    def predict(x: Array) -> Array:
        return x if scale == "train" else x * share

    return _noise(f"dropout({rate})", "the mask", apply, apply, predict)


def spatial_dropout(rate: float) -> Layer:
    """Whole channels are dropped, each of each example with probability `rate`.

    Neighbouring pixels are so much alike that single ones are hardly missed. Forward, with one ``m`` for
    each example and channel: ``y[n, …, c] = x[n, …, c] · m[n, c] / (1 - rate)``. Backward:
    ``dx = dy · m / (1 - rate)`` with the same m. `predict` is the identity. The rate is taken to the
    nearest multiple of 2⁻¹⁶.

    Shapes: x and y (N, …, C), with at least one axis of positions. Cache: the key.
    Source: Tompson, Goroshin, Jain, LeCun, Bregler (2015).

    Raises:
      TypeError: x is of integers.
      ValueError: the rate is not in [0, 1), x has no positions, or `forward` gets no key.
    """
    checked_rate(rate, "spatial_dropout")
    factor = 1 / share_kept(1 - rate)

    def apply(key: Array, x: Array) -> Array:
        shape = (x.shape[0], *(1,) * (x.ndim - 2), x.shape[-1])
        mask = kept_for_many(key, 1 - rate, shape)
        return jnp.where(jnp.broadcast_to(mask, x.shape), x * factor, 0)

    def check(x: Array) -> None:
        if x.ndim < 3:
            raise ValueError(
                f"spatial_dropout: expected x of shape (N, …, C) with positions between, got {x.shape}; "
                "without positions use dropout"
            )

    return _noise(f"spatial_dropout({rate})", "the mask", apply, apply, check=check)


def alpha_dropout(rate: float) -> Layer:
    """Dropout that keeps mean 0 and variance 1, for networks of selu units.

    What is dropped becomes ``α' = -λα``, which selu gives far below 0, and an affine map puts mean and
    variance back. Forward, with p = 1 - rate: ``y = a (m x + (1 - m) α') + b``, where
    ``a = (p + α'² p (1 - p))^(-1/2)`` and ``b = -a (1 - p) α'``. Backward: ``dx = a · m · dy`` with the
    same m. `predict` is the identity. The rate is taken to the nearest multiple of 2⁻¹⁶.

    Shapes: any. Cache: the key. Source: Klambauer, Unterthiner, Mayr, Hochreiter (2017).

    Raises:
      TypeError: x is of integers.
      ValueError: the rate is not in [0, 1), or `forward` gets no key.
    """
    checked_rate(rate, "alpha_dropout")
    p = share_kept(1 - rate)
    a = (p + _SELU_OFF**2 * p * (1 - p)) ** -0.5
    b = -a * (1 - p) * _SELU_OFF

    def apply(key: Array, x: Array) -> Array:
        wide = x.astype(accumulation_dtype(x.dtype))
        y = jnp.where(kept(key, 1 - rate, x.shape), a * wide + b, a * _SELU_OFF + b)
        return y.astype(x.dtype)

    def transpose(key: Array, dy: Array) -> Array:
        return jnp.where(kept(key, 1 - rate, dy.shape), a * dy, 0)

    return _noise(f"alpha_dropout({rate})", "the mask", apply, transpose)


def gaussian_dropout(rate: float) -> Layer:
    """Each element is multiplied by Gaussian noise of the mean and variance of dropout's.

    Forward: ``y = x · ε`` with ``ε ~ N(1, rate / (1 - rate))``. Backward: ``dx = dy · ε`` with the same
    ε. `predict` is the identity. Shapes: any. Cache: the key.
    Source: Srivastava, Hinton, Krizhevsky, Sutskever, Salakhutdinov (2014), section 10.

    Raises:
      TypeError: x is of integers.
      ValueError: the rate is not in [0, 1), or `forward` gets no key.
    """
    checked_rate(rate, "gaussian_dropout")
    stddev = (rate / (1 - rate)) ** 0.5

    def apply(key: Array, x: Array) -> Array:
        wide = accumulation_dtype(x.dtype)
        factor = 1 + stddev * normals(key, x.shape, x.dtype)
        return (x.astype(wide) * factor.astype(wide)).astype(x.dtype)

    return _noise(f"gaussian_dropout({rate})", "the noise", apply, apply)


def gaussian_noise(stddev: float) -> Layer:
    """Gaussian noise of mean 0 is added.

    Forward: ``y = x + stddev · ε`` with ``ε ~ N(0, 1)``. Backward: ``dx = dy``. `predict` is the
    identity. Shapes: any. Cache: nothing. Source: Sietsma, Dow (1991); Bishop (1995).

    Raises:
      TypeError: x is of integers.
      ValueError: stddev is not a finite number of at least 0, or `forward` gets no key.
    """
    if not 0 <= stddev < float("inf"):
        raise ValueError(f"gaussian_noise: expected a finite stddev of at least 0, got {stddev}")
    name = f"gaussian_noise({stddev})"

    def forward(
        params: PyTree, state: PyTree, x: Array, key: Key
    ) -> tuple[Array, PyTree, DtypeCache]:
        del params  # there are none
        x = as_arrays(x)
        check_inexact(x)
        drawn = normals(checked_key(key, name, "the noise"), x.shape, x.dtype)
        wide = accumulation_dtype(x.dtype)
        y = x.astype(wide) + (stddev * drawn).astype(wide)
        return y.astype(x.dtype), state, DtypeCache(Static(x.dtype))

    def backward(params: PyTree, cache: DtypeCache, dy: Array) -> tuple[PyTree, Array]:
        return params, as_arrays(dy).astype(cache.dtype.value)

    return Layer(name, _init, forward, backward, _predictor(_same))


def _noise(
    name: str,
    what: str,
    apply: Callable[[Array, Array], Array],
    transpose: Callable[[Array, Array], Array],
    predict: Callable[[Array], Array] | None = None,
    check: Callable[[Array], None] | None = None,
) -> Layer:
    """The layer that draws `what`: ``y = apply(key, x)``, ``dx = transpose(key, dy)``."""

    def forward(
        params: PyTree, state: PyTree, x: Array, key: Key
    ) -> tuple[Array, PyTree, NoiseCache]:
        del params  # there are none
        key = checked_key(key, name, what)
        x = as_arrays(x)
        check_inexact(x)
        if check is not None:
            check(x)
        return apply(key, x), state, NoiseCache(key, Static(x.dtype))

    def backward(params: PyTree, cache: NoiseCache, dy: Array) -> tuple[PyTree, Array]:
        return params, transpose(cache.key, as_arrays(dy).astype(cache.dtype.value))

    return Layer(name, _init, forward, backward, _predictor(predict or _same, check))


def _predictor(
    predict: Callable[[Array], Array], check: Callable[[Array], None] | None = None
) -> Callable[[PyTree, PyTree, Array], Array]:
    """The inference pass, which takes what `forward` takes."""

    def full_predict(params: PyTree, state: PyTree, x: Array) -> Array:
        del params, state  # there are none
        x = as_arrays(x)
        check_inexact(x)
        if check is not None:
            check(x)
        return predict(x)

    return full_predict


def _same(x: Array) -> Array:
    return x


def _init(key: Key, x: Array) -> tuple[tuple[()], tuple[()]]:
    del key, x  # no parameters, no state
    return (), ()
