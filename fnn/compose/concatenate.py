"""Several layers on the same input, their outputs side by side.

y = [f_1(x), f_2(x), …]        dx = Σ_i f_iᵀ(dy_i), with dy_i the piece of dy that came from f_i
"""

from collections.abc import Mapping
from types import MappingProxyType

import jax
import jax.numpy as jnp
from jax import lax

from fnn.compose.child import describe, name_children
from fnn.compose.parallel import parallel
from fnn.compose.watch import Around
from fnn.layer import Array, Key, Layer, PyTree, Static, as_arrays


def concatenate(*unnamed: Layer, axis: int = -1, **named: Layer) -> Layer:
    """Every child applied to the same `x`; the output is theirs, concatenated along `axis`.

    Forward: ``y = concatenate([f_name(x), …], axis)`` in the order of the children. Backward: dy is cut
    where y was joined, each child gets its piece, and the input collects the sum of what they send back;
    of integers, whose dy is None, each gets None. Shapes: x as every child takes it; y as the children's
    outputs, but for `axis`, whose lengths add up. Cache: the children's caches, by name, and the widths.
    No child can be called `axis`. Source: Szegedy et al. (2015).

    Raises:
      TypeError, ValueError: a child is no Layer, two share a name, or there is none; the outputs differ
        in dtype, or in shape besides `axis`.
    """
    parts = name_children(unnamed, named)
    if not parts:
        raise ValueError("concatenate: expected at least one child, got none")
    inner = parallel(**parts)

    def joined(y: Mapping[str, Array]) -> Array:
        first = next(iter(y.values()))
        for name in parts:
            if not _joinable(y[name], first, axis):
                raise ValueError(
                    f"concatenate: expected arrays that differ along axis {axis} at most, got "
                    f"{describe(dict(y))}"
                )
        return jnp.concatenate([y[name] for name in parts], axis)

    def init(key: Key, x: PyTree) -> tuple[PyTree, PyTree]:
        params, state = inner.init(key, x)
        jax.eval_shape(lambda p, s, x: joined(inner.predict(p, s, x)), params, state, x)
        return params, state

    def forward(
        params: PyTree, state: PyTree, x: PyTree, key: Key
    ) -> tuple[PyTree, PyTree, Around]:
        y, new_state, cache = inner.forward(params, state, x, key)
        whole = joined(y)
        return whole, new_state, Around(cache, Static(tuple(y[name].shape[axis] for name in parts)))

    def backward(params: PyTree, cache: Around, dy: PyTree) -> tuple[PyTree, PyTree]:
        dy, widths = as_arrays(dy), cache.own.value
        pieces = [None] * len(widths) if dy is None else lax.split(dy, widths, axis % dy.ndim)
        return inner.backward(params, cache.cache, dict(zip(parts, pieces, strict=True)))

    def predict(params: PyTree, state: PyTree, x: PyTree) -> PyTree:
        return joined(inner.predict(params, state, x))

    def rebuild(parts: Mapping[str, Layer]) -> Layer:
        return concatenate(axis=axis, **parts)

    return Layer("concatenate", init, forward, backward, predict, MappingProxyType(parts), rebuild)


def _joinable(y: PyTree, first: PyTree, axis: int) -> bool:
    if not all(hasattr(leaf, "shape") and -leaf.ndim <= axis < leaf.ndim for leaf in (y, first)):
        return False
    a, b = list(y.shape), list(first.shape)
    if len(a) != len(b) or y.dtype != first.dtype:
        return False
    a[axis] = b[axis]
    return a == b
