"""A row of the cost table: a gradient by hand, and by autodiff of the best plain forward."""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from fnn import losses
from fnn.gradient import auto_value_and_grad, value_and_grad
from fnn.layer import Layer, PyTree
from fnn.losses import Loss

Drawn = tuple[int, ...] | Callable[[np.random.Generator], PyTree]
Size = str  # "real" or "small"


class Problem(NamedTuple):
    """Two programs of the same gradients: ``program(moving, fixed) -> (y, gradients of moving)``."""

    hand: Callable[[PyTree, PyTree], tuple[PyTree, PyTree]]
    auto: Callable[[PyTree, PyTree], tuple[PyTree, PyTree]]
    moving: PyTree
    fixed: PyTree
    cache: PyTree  # the shapes of what forward hands to backward


class Costed(Protocol):
    """A row: a layer, a loss or a network at its sizes."""

    @property
    def reason(self) -> str:
        """Why the hand-written program is not cheaper, where that is known; else nothing."""

    def problem(self, size: Size, dtype: Any, *, in_scan: bool) -> Problem: ...


@dataclasses.dataclass(frozen=True)
class CostRow:
    """A layer: forward, and backward for a given dy."""

    layer: Layer
    real: Drawn  # the shape of x, or what draws x where it is not one array of normal numbers
    small: Drawn
    # ``plain(params, x) -> y``, the best plain forward of an expert; None is the layer's own.
    plain: Callable[..., PyTree] | None = None
    batch_in_scan: int | None = None  # a smaller batch, where autodiff in a scan takes seconds
    # How far apart the two may be, relative to the largest; None if `plain` draws other numbers.
    distance: float | None = 2e-5
    takes_state: bool = False  # whether `plain` is of (params, state, x)
    reason: str = ""

    def problem(self, size: Size, dtype: Any, *, in_scan: bool) -> Problem:
        key = jax.random.key(0)
        x = drawn(self.real if size == "real" else self.small, dtype)
        if in_scan and size == "real" and self.batch_in_scan is not None:
            x = jax.tree.map(lambda leaf: leaf[: self.batch_in_scan], x)
        params, state = self.layer.init(key, x)
        y, _, cache = jax.eval_shape(self.layer.forward, params, state, x, key)
        dy = jax.tree.map(lambda leaf: normal(leaf.shape, leaf.dtype, seed=1), y)
        floats, others = split(x)

        def hand(moving: PyTree, fixed: PyTree) -> tuple[PyTree, PyTree]:
            (params, floats), (state, others, dy) = moving, fixed
            y, _, cache = self.layer.forward(params, state, merge(floats, others), key)
            return y, self.layer.backward(params, cache, dy)

        def auto(moving: PyTree, fixed: PyTree) -> tuple[PyTree, PyTree]:
            state, others, dy = fixed

            def run(params: PyTree, floats: PyTree) -> PyTree:
                x = merge(floats, others)
                if self.plain is not None:
                    return self.plain(*((params, state, x) if self.takes_state else (params, x)))
                return self.layer.forward(params, state, x, key)[0]

            y, pull = jax.vjp(run, *moving)
            return y, pull(dy)

        return Problem(hand, auto, (params, floats), (state, others, dy), cache)


@dataclasses.dataclass(frozen=True)
class LossCostRow:
    """A loss: its value for each example, and the gradient for given cotangents."""

    loss: Loss
    real: Drawn  # the prediction
    small: Drawn
    target: Callable[[PyTree, np.random.Generator], PyTree]  # of that prediction
    plain: Callable[[PyTree, PyTree], jax.Array] | None = None  # (prediction, target) -> losses
    reason: str = ""

    def problem(self, size: Size, dtype: Any, *, in_scan: bool) -> Problem:
        del in_scan  # the same batch
        prediction = drawn(self.real if size == "real" else self.small, dtype)
        target = jax.tree.map(jnp.asarray, self.target(prediction, np.random.default_rng(2)))
        values, cache = jax.eval_shape(self.loss.forward, prediction, target)
        dlosses = jnp.full(values.shape, 1 / max(values.size, 1), values.dtype)

        def hand(moving: PyTree, fixed: PyTree) -> tuple[PyTree, PyTree]:
            target, dlosses = fixed
            values, cache = self.loss.forward(moving, target)
            return values, self.loss.backward(cache, dlosses)

        def auto(moving: PyTree, fixed: PyTree) -> tuple[PyTree, PyTree]:
            target, dlosses = fixed

            def run(prediction: PyTree) -> jax.Array:
                if self.plain is not None:
                    return self.plain(prediction, target).astype(dlosses.dtype)
                return self.loss.forward(prediction, target)[0]

            values, pull = jax.vjp(run, moving)
            return values, pull(dlosses)[0]

        return Problem(hand, auto, prediction, (target, dlosses), cache)


@dataclasses.dataclass(frozen=True)
class NetworkRow:
    """A whole classifier: the gradient of its mean cross-entropy."""

    net: Layer
    real: tuple[int, ...]
    small: tuple[int, ...]
    batch_in_scan: int | None = None
    classes: int = 10
    reason: str = ""

    def problem(self, size: Size, dtype: Any, *, in_scan: bool) -> Problem:
        shape = self.real if size == "real" else self.small
        if in_scan and size == "real" and self.batch_in_scan is not None:
            shape = (self.batch_in_scan, *shape[1:])
        x = normal(shape, dtype)
        labels = jnp.asarray(
            np.random.default_rng(2).integers(0, self.classes, shape[0]), jnp.int32
        )
        params, state = self.net.init(jax.random.key(0), x)
        loss = losses.softmax_cross_entropy()

        def by(differentiate: Callable[..., Any]) -> Callable[..., Any]:
            gradient = differentiate(self.net, loss)

            def run(moving: PyTree, fixed: PyTree) -> tuple[PyTree, PyTree]:
                (value, _), dparams = gradient(moving, *fixed)
                return value, dparams

            return run

        cache = jax.eval_shape(self.net.forward, params, state, x, None)[2]
        fixed = (state, x, labels)
        return Problem(by(value_and_grad), by(auto_value_and_grad), params, fixed, cache)


def normal(shape: tuple[int, ...], dtype: Any, seed: int = 0) -> jax.Array:
    """Normal numbers."""
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape, np.float32), dtype)


def drawn(x: Drawn, dtype: Any) -> PyTree:
    """What a row asks for, its floats in the dtype."""
    if not callable(x):
        return normal(x, dtype)
    return jax.tree.map(
        lambda leaf: jnp.asarray(leaf, dtype if floating(leaf) else leaf.dtype),
        x(np.random.default_rng(0)),
    )


def floating(leaf: Any) -> bool:
    """Whether a leaf has a derivative."""
    return bool(jnp.issubdtype(leaf.dtype, jnp.floating))


def split(x: PyTree) -> tuple[PyTree, PyTree]:
    """The leaves that have a derivative and those that have none, each with None for the other's."""
    floats = jax.tree.map(lambda leaf: leaf if floating(leaf) else None, x)
    return floats, jax.tree.map(lambda leaf: None if floating(leaf) else leaf, x)


def merge(floats: PyTree, others: PyTree) -> PyTree:
    """The whole x again."""
    return jax.tree.map(
        lambda one, other: other if one is None else one,
        floats,
        others,
        is_leaf=lambda leaf: leaf is None,
    )
