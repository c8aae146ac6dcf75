"""Between images and sequences: patches for tokens, a token for the class, the token that is read."""

from typing import Any, NamedTuple

import jax.numpy as jnp

from fnn.dtypes import accumulation_dtype, check_inexact, computing_dtype, parameter_dtype
from fnn.initializers import Initializer, normal
from fnn.layer import Array, Key, Layer, Static, pure
from fnn.random import child_key

SMALL_NORMAL = normal(0.02)


class ShapeAndDtypeCache(NamedTuple):
    """What x was like; no array."""

    shape: Static[tuple[int, ...]]
    dtype: Static[Any]


class ClassTokenParams(NamedTuple):
    """One token for all examples."""

    token: Array  # (D,)


def patches(size: int) -> Layer:
    """Squares of an image one after the other, row by row; a linear map of them is a patch embedding.

    Forward, with p the size: ``y[n, (i, j), (a, b, c)] = x[n, i p + a, j p + b, c]``. Backward: the same
    numbers back in their places. Such a linear map is the convolution with stride p of a window p × p,
    but as a plain matrix product.
    Shapes: x (N, H, W, C), H and W multiples of p; y (N, H W / p², p² C). Cache: x's shape and dtype.
    Source: Dosovitskiy et al. (2021).

    Raises:
      TypeError: x is of integers.
      ValueError: the size is not positive, or x has not four axes, two of them multiples of the size.
    """
    if size < 1:
        raise ValueError(f"patches: expected a size of at least one, got {size}")

    def forward(params: tuple[()], x: Array) -> tuple[Array, ShapeAndDtypeCache]:
        del params  # there are none
        check_inexact(x)
        if x.ndim != 4 or x.shape[1] % size or x.shape[2] % size:
            raise ValueError(
                f"patches: expected x of shape (N, H, W, C) with H and W multiples of {size}, "
                f"got {x.shape}"
            )
        n, height, width, channels = x.shape
        rows, columns = height // size, width // size
        squares = x.reshape(n, rows, size, columns, size, channels).swapaxes(2, 3)
        y = squares.reshape(n, rows * columns, size * size * channels)
        return y, ShapeAndDtypeCache(Static(x.shape), Static(x.dtype))

    def backward(
        params: tuple[()], cache: ShapeAndDtypeCache, dy: Array
    ) -> tuple[tuple[()], Array]:
        n, height, width, channels = shape = cache.shape.value
        rows, columns = height // size, width // size
        squares = dy.reshape(n, rows, columns, size, size, channels).swapaxes(2, 3)
        return params, squares.reshape(shape).astype(cache.dtype.value)

    return pure(f"patches({size})", forward, backward)


def class_token(*, token_init: Initializer = SMALL_NORMAL) -> Layer:
    """A learned token before the others, in which attention can gather what the class depends on.

    Forward: ``y_0 = token``, ``y_{t+1} = x_t``. Backward: ``dtoken = Σ_n dy_n,0``, ``dx_t = dy_{t+1}``.
    Shapes: x (N, T, D), token (D,), y (N, T + 1, D). Cache: nothing but x's shape and dtype.
    Source: Devlin, Chang, Lee, Toutanova (2019); for images: Dosovitskiy et al. (2021).

    Raises:
      TypeError: x is of integers.
      ValueError: x has not three axes, or another width than the token was made for.
    """

    def init(key: Key, x: Array) -> ClassTokenParams:
        _check_sequence("class_token", x)
        dtype = parameter_dtype(x)
        return ClassTokenParams(token_init(child_key(key, "token"), x.shape[-1:], dtype))

    def forward(params: ClassTokenParams, x: Array) -> tuple[Array, ShapeAndDtypeCache]:
        _check_sequence("class_token", x)
        if x.shape[-1:] != params.token.shape:
            raise ValueError(
                f"class_token: expected x of shape (N, T, {params.token.shape[0]}), got {x.shape}"
            )
        dtype = computing_dtype(x, params.token)
        token = jnp.broadcast_to(params.token.astype(dtype), (x.shape[0], 1, x.shape[2]))
        y = jnp.concatenate([token, x.astype(dtype)], axis=1)
        return y.astype(x.dtype), ShapeAndDtypeCache(Static(x.shape), Static(x.dtype))

    def backward(
        params: ClassTokenParams, cache: ShapeAndDtypeCache, dy: Array
    ) -> tuple[ClassTokenParams, Array]:
        first = dy[:, 0]
        dtoken = first.astype(accumulation_dtype(first.dtype)).sum(axis=0)
        dx = dy[:, 1:].astype(cache.dtype.value)
        return ClassTokenParams(dtoken.astype(params.token.dtype)), dx

    return pure("class_token", init=init, forward=forward, backward=backward)


def token_at(index: int) -> Layer:
    """One token of a sequence: the first for a class token, -1 for the last.

    Forward: ``y = x_index``. Backward: ``dx_index = dy``, 0 for the other tokens.
    Shapes: x (N, T, D), y (N, D). Cache: x's shape and dtype.
    Source: Devlin, Chang, Lee, Toutanova (2019), for the first.

    Raises:
      TypeError: x is of integers.
      ValueError: x has not three axes, or no such token.
    """

    def forward(params: tuple[()], x: Array) -> tuple[Array, ShapeAndDtypeCache]:
        del params  # there are none
        _check_sequence("token_at", x)
        if not -x.shape[1] <= index < x.shape[1]:
            raise ValueError(f"token_at: expected x with a token {index}, got shape {x.shape}")
        return x[:, index], ShapeAndDtypeCache(Static(x.shape), Static(x.dtype))

    def backward(
        params: tuple[()], cache: ShapeAndDtypeCache, dy: Array
    ) -> tuple[tuple[()], Array]:
        dx = jnp.zeros(cache.shape.value, cache.dtype.value)
        return params, dx.at[:, index].set(dy.astype(dx.dtype))

    return pure(f"token_at({index})", forward, backward)


def mean_token() -> Layer:
    """The mean of the tokens of a sequence.

    Forward: ``y = Σ_t x_t / T``. Backward: ``dx_t = dy / T``. The sum is taken in float32 at least.
    Shapes: x (N, T, D), y (N, D). Cache: x's shape and dtype.
    Source: Lin, Chen, Yan (2014), who take such a mean of positions.

    Raises:
      TypeError: x is of integers.
      ValueError: x has not three axes, or no token to take a mean of.
    """

    def forward(params: tuple[()], x: Array) -> tuple[Array, ShapeAndDtypeCache]:
        del params  # there are none
        _check_sequence("mean_token", x)
        if x.shape[1] < 1:
            raise ValueError(f"mean_token: expected at least one token, got shape {x.shape}")
        y = x.astype(accumulation_dtype(x.dtype)).sum(axis=1) / x.shape[1]
        return y.astype(x.dtype), ShapeAndDtypeCache(Static(x.shape), Static(x.dtype))

    def backward(
        params: tuple[()], cache: ShapeAndDtypeCache, dy: Array
    ) -> tuple[tuple[()], Array]:
        shape, dtype = cache.shape.value, cache.dtype.value
        each = dy.astype(accumulation_dtype(dtype)) / shape[1]
        return params, jnp.broadcast_to(each[:, None].astype(dtype), shape)

    return pure("mean_token", forward, backward)


def _check_sequence(name: str, x: Array) -> None:
    if x.ndim != 3 or x.shape[-1] < 1:
        raise ValueError(f"{name}: expected x of shape (N, T, features), got {x.shape}")
    check_inexact(x)
