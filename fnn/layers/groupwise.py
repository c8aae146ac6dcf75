"""Gates over the numbers of a group: their sum, their maximum, and a switch among them."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from fnn.dtypes import accumulation_dtype, check_inexact
from fnn.layer import Array, Layer, Static, pure


class SumCache(NamedTuple):
    """What dx is to look like; no array."""

    shape: Static[tuple[int, ...]]  # of x
    dtype: Static[Any]  # of x


class FirstCache(NamedTuple):
    """Where each maximum was."""

    place: Array  # int32, 1 along the axis
    shape: Static[tuple[int, ...]]  # of x
    dtype: Static[Any]  # of x


class SplitCache(NamedTuple):
    """Which numbers are the maximum of their group, one byte each."""

    largest: Array  # bool, the shape of x
    dtype: Static[Any]  # of x


class SwitchCache(NamedTuple):
    """Which numbers passed."""

    selected: Array  # of x's shape; the selector as it came
    dtype: Static[Any]  # of x


def sum_over(axis: int | tuple[int, ...] = -1) -> Layer:
    """The sum along an axis, or along several: the distributor of a group.

    Forward: ``y = Σ_i x_i``. Backward: every term gets the whole gradient, ``dx_i = dy``. Shapes: any
    with those axes, which y has no more. The sum is taken in float32 at least. Cache: x's shape and
    dtype, no array. Source: Linnainmaa (1976).

    Raises:
      TypeError: x is of integers.
      ValueError: x has no such axis, or one of them is named twice.
    """
    axes = axis if isinstance(axis, tuple) else (axis,)

    def forward(params: tuple[()], x: Array) -> tuple[Array, SumCache]:
        del params  # there are none
        check_inexact(x)
        for one in axes:
            check_axis("sum_over", one, x)
        if len({one % x.ndim for one in axes}) < len(axes):
            raise ValueError(f"sum_over: expected each axis once, got {axes} for x {x.shape}")
        y = x.astype(accumulation_dtype(x.dtype)).sum(axis=axes)
        return y.astype(x.dtype), SumCache(Static(x.shape), Static(x.dtype))

    def backward(params: tuple[()], cache: SumCache, dy: Array) -> tuple[tuple[()], Array]:
        shape = cache.shape.value
        dy = jnp.expand_dims(dy.astype(cache.dtype.value), tuple(one % len(shape) for one in axes))
        return params, jnp.broadcast_to(dy, shape)

    return pure("sum_over", forward, backward)


def max_over(axis: int = -1, *, ties: str = "first") -> Layer:
    """The maximum along an axis: the router of gradients.

    Forward: ``y = max_i x_i``; a NaN is larger than every number. Backward: ``dx_i = dy`` where x_i is
    the maximum, else 0. Subgradient, where several are equal to it: with the ties "first", the first of
    them gets dy; with "split", each gets an equal share, as from `jax.numpy.max`; beside a NaN all do.
    Shapes: any with that axis, which y has no more. Cache: one place a group for "first", one byte an
    element for "split". Source: Danskin (1967), for the derivative of a maximum.

    Raises:
      TypeError: x is of integers.
      ValueError: another policy for ties; x has no such axis, or no number along it.
    """
    if ties not in ("first", "split"):
        raise ValueError(f"max_over: expected ties 'first' or 'split', got {ties!r}")

    def forward(params: tuple[()], x: Array) -> tuple[Array, FirstCache | SplitCache]:
        del params  # there are none
        check_inexact(x)
        check_axis("max_over", axis, x, largest=True)
        if ties == "split":
            y = x.max(axis=axis, keepdims=True)
            # Not x == y, which a maximum of NaN is for none, so that dy would be shared among nobody.
            return y.squeeze(axis), SplitCache(~(x < y), Static(x.dtype))
        place = first_largest(jax.lax.stop_gradient(x), axis)
        y = jnp.take_along_axis(x, place, axis, mode="clip")
        return y.squeeze(axis), FirstCache(place, Static(x.shape), Static(x.dtype))

    def backward(
        params: tuple[()], cache: FirstCache | SplitCache, dy: Array
    ) -> tuple[tuple[()], Array]:
        dy = jnp.expand_dims(dy.astype(cache.dtype.value), axis)
        if isinstance(cache, FirstCache):
            shape = cache.shape.value
            places = jax.lax.broadcasted_iota(jnp.int32, shape, axis % len(shape))
            return params, jnp.where(places == cache.place, dy, 0)
        count = cache.largest.sum(axis=axis, keepdims=True, dtype=accumulation_dtype(dy.dtype))
        share = (dy.astype(count.dtype) / count).astype(dy.dtype)
        return params, jnp.where(cache.largest, share, 0)

    return pure(f"max_over({ties})", forward, backward)


def switch() -> Layer:
    """A switch that lets the selected numbers of a group pass, and gives 0 for the others.

    x is the tuple ``(s, values)`` of a one-hot selector and numbers. Forward: ``y = s ⊙ values``,
    selected rather than multiplied: what is switched off, though it were NaN, cannot be seen. Backward:
    ``dvalues = s ⊙ dy``, and None for s, which has no derivative: a choice of floats, such as that of
    `hardmax`, is a factor of `multiply`. Shapes: s, of integers or truth values, and values of one and
    the same shape. Cache: s. To evaluate only the branch that is selected, see `compose.conditional`.
    Source: Jacobs, Jordan, Nowlan, Hinton (1991), whose selector lets one of several experts pass.

    Raises:
      TypeError: x is no such pair; s is of floats, or the values are of integers.
      ValueError: the two have different shapes.
    """

    def forward(params: tuple[()], x: tuple[Array, Array]) -> tuple[Array, SwitchCache]:
        del params  # there are none
        if not isinstance(x, tuple) or len(x) != 2:
            raise TypeError(
                f"switch: expected x to be a tuple (selector, values), got {type(x).__name__}"
                f" of {len(jax.tree.leaves(x))}"
            )
        selector, values = x
        if jnp.issubdtype(selector.dtype, jnp.inexact):
            raise TypeError(
                f"switch: expected a selector of integers or truth values, got {selector.dtype}; "
                "a gate of floats is multiply()"
            )
        check_inexact(values)
        if selector.shape != values.shape:
            raise ValueError(
                f"switch: expected a selector of the values' shape {values.shape}, "
                f"got {selector.shape}"
            )
        y = jnp.where(selector != 0, values, 0)
        return y, SwitchCache(selector, Static(values.dtype))

    def backward(
        params: tuple[()], cache: SwitchCache, dy: Array
    ) -> tuple[tuple[()], tuple[None, Array]]:
        return params, (None, jnp.where(cache.selected != 0, dy.astype(cache.dtype.value), 0))

    return pure("switch", forward, backward)


def check_axis(name: str, axis: int, x: Array, *, largest: bool = False) -> None:
    """Refuse an x without that axis; or without a number along it, of which one would be the largest.

    Raises:
      ValueError: naming the layer, what it expected and what came.
    """
    if not -x.ndim <= axis < x.ndim:
        raise ValueError(f"{name}: expected x with an axis {axis}, got shape {x.shape}")
    if largest and x.shape[axis] == 0:
        raise ValueError(f"{name}: expected a number along axis {axis}, got shape {x.shape}")


def first_largest(x: Array, axis: int) -> Array:
    """The place of the largest number along `axis`, the first of equals, of shape 1 there.

    A NaN is larger than every number. Two plain reductions: `jnp.argmax` takes 8 times as long on a CPU.
    """
    top = x.max(axis=axis, keepdims=True)
    is_top = (x == top) | (jnp.isnan(x) & jnp.isnan(top))
    places = jax.lax.broadcasted_iota(jnp.int32, x.shape, axis % x.ndim)
    return jnp.where(is_top, places, x.shape[axis]).min(axis=axis, keepdims=True)
