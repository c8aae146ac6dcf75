"""Subjects on images: max pooling, which has ties, and a convolution, which has a kernel to flip."""

from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax

from experiments.shootout_subjects import (
    Array,
    Arrays,
    Shapes,
    Subject,
    normal,
    one_element,
    reversed_along,
    scaled,
    transposed,
    without_row,
)


def _windows(x: Array) -> Array:
    n, h, w, c = x.shape
    return x.reshape(n, h // 2, 2, w // 2, 2, c)


def _max_pool(x: Array) -> Array:
    return _windows(x).max((2, 4))


def _share(x: Array) -> Array:
    """Which elements are the maximum of their window, with equal parts where several are."""
    windows = _windows(x)
    hit = (windows == windows.max((2, 4), keepdims=True)).astype(x.dtype)
    return hit / hit.sum((2, 4), keepdims=True)


def _spread(dy: Array, share: Array, like: Array) -> Array:
    return (dy[:, :, None, :, None, :] * share).reshape(like.shape)


max_pool = Subject(
    "max pool",
    _max_pool,
    lambda args, dy: (_spread(dy, _share(args[0]), args[0]),),
    {
        "as an average": lambda args, dy, g: (
            _spread(dy, jnp.full_like(_share(args[0]), 0.25), args[0]),
        ),
        "to all of the window": lambda args, dy, g: (
            _spread(dy, jnp.ones_like(_share(args[0])), args[0]),
        ),
        "to the minimum": lambda args, dy, g: (_spread(dy, _share(-args[0]), args[0]),),
        "no upstream": lambda args, dy, g: (_spread(jnp.ones_like(dy), _share(args[0]), args[0]),),
        "last row": lambda args, dy, g: (g[0] * jnp.ones_like(g[0]).at[:, -1].set(0),),
        "0.1 % large": scaled(0, 1.001),
    },
    Shapes(((1, 4, 4, 2),), ((8, 16, 16, 16),)),
    normal,
)


def _convolve(x: Array, w: Array) -> Array:
    return lax.conv_general_dilated(
        x, w, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


def _convolution(x: Array, w: Array, b: Array) -> Array:
    return _convolve(x, w) + b[None, None, None, :]


def _convolution_dx(w: Array, dy: Array) -> Array:
    """The correlation with the kernel turned by half a turn, in and out exchanged."""
    return _convolve(dy, jnp.flip(w, (0, 1)).swapaxes(2, 3))


def _convolution_backward(args: Arrays, dy: Array) -> Arrays:
    x, w, _ = args
    padded = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    dw = lax.conv_general_dilated(
        padded, dy, (1, 1), "VALID", dimension_numbers=("CHWN", "IHWO", "HWNC")
    )
    return _convolution_dx(w, dy), dw, dy.sum((0, 1, 2))


def _convolution_draw(
    rng: np.random.Generator, shapes: tuple[tuple[int, ...], ...]
) -> list[np.ndarray[Any, Any]]:
    x, w, b = normal(rng, shapes)
    return [x, w / np.sqrt(np.prod(w.shape[:3])), b]


convolution = Subject(
    "convolution",
    _convolution,
    _convolution_backward,
    {
        "dx: not turned": lambda args, dy, g: (
            _convolve(dy, args[1].swapaxes(2, 3)),
            *g[1:],
        ),
        "dx: turned in one axis": lambda args, dy, g: (
            _convolve(dy, jnp.flip(args[1], 0).swapaxes(2, 3)),
            *g[1:],
        ),
        "dx: first image": without_row(0, 0),
        "dw turned": reversed_along(1, 0),
        "dw: in and out exchanged": transposed(1),
        "dw one element": one_element(1),
        "db over images alone": lambda args, dy, g: (g[0], g[1], dy[:, 0, 0, :].sum(0)),
        "db halved": scaled(2, 0.5),
    },
    Shapes(((2, 4, 4, 2), (3, 3, 2, 3), (3,)), ((4, 14, 14, 16), (3, 3, 16, 32), (32,))),
    _convolution_draw,
)

IMAGES = (max_pool, convolution)
