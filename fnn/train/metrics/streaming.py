"""Metrics that are gathered batch by batch: pure functions over a small state.

    top = mean_of(top_k(5))
    state = top.init()
    for x, target in batches:
        state = top.update(state, net.predict(params, network_state, x), target)
    print(top.result(state))

States are trees of sums, for `scan`, `vmap` and many hosts: `combine` puts those of two parts of the data
together, in any order and grouping, up to rounding. `train.evaluate` takes reductions by name.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol

import jax.numpy as jnp

from fnn.arguments import not_taken
from fnn.layer import Array, PyTree
from fnn.train.options import Metric


class ReductionUpdate(Protocol):
    """The state with one more batch in it, whose examples count by their weights, if there are any."""

    def __call__(
        self, state: PyTree, prediction: PyTree, target: PyTree, weights: Array | None = None, /
    ) -> PyTree: ...


class Reduction(NamedTuple):
    """Four pure functions."""

    init: Callable[[], PyTree]  # of no examples
    update: ReductionUpdate
    combine: Callable[[PyTree, PyTree], PyTree]  # the state of both parts; associative, commutative
    result: Callable[[PyTree], PyTree]  # what a person wants to know


class Sum(NamedTuple):
    """A sum of many floats, in float32 or, where jax has it, float64; `low` is what `high` rounds away.

    A plain float32 sum of ones stands still at 2²⁴, which are not many examples.
    """

    high: Array
    low: Array

    @property
    def value(self) -> Array:
        """The sum."""
        return self.high + self.low


def plus(a: Sum, b: Sum) -> Sum:
    """a + b; what the addition rounds away goes to `low` (Knuth, 1969, "TwoSum")."""
    high = a.high + b.high
    part = high - a.high
    rounded = (a.high - (high - part)) + (b.high - part)
    # An infinite sum stays one: without this, its lost digits are ∞ - ∞.
    rounded = jnp.where(jnp.isfinite(high), rounded, jnp.zeros_like(rounded))
    return Sum(high, a.low + b.low + rounded)


def summed(
    shapes: Mapping[str, tuple[int, ...]],
    statistics: Callable[[PyTree, PyTree, Array | None], Mapping[str, Array]],
    result: Callable[[dict[str, Array]], PyTree],
) -> Reduction:
    """The reduction whose state is sums: of what `statistics` makes of each batch, by name.

    ``statistics(prediction, target, weights) -> {name: array of its shape}``
    ``result({name: the sum over all batches}) -> what the reduction says``
    """

    def init() -> dict[str, Sum]:
        return {name: _sum(jnp.zeros(shape, float)) for name, shape in shapes.items()}

    def combine(a: dict[str, Sum], b: dict[str, Sum]) -> dict[str, Sum]:
        return {name: plus(a[name], b[name]) for name in shapes}

    def update(
        state: dict[str, Sum], prediction: PyTree, target: PyTree, weights: Array | None = None
    ) -> dict[str, Sum]:
        found = statistics(prediction, target, weights)
        return combine(state, {name: _sum(found[name].astype(float)) for name in shapes})

    def said(state: dict[str, Sum]) -> PyTree:
        return result({name: total.value for name, total in state.items()})

    return Reduction(init, update, combine, said)


def mean_of(metric: Metric) -> Reduction:
    """``Σ w_n m_n / Σ w_n`` of a metric's numbers, such as `accuracy`; () float.

    Without weights, w is 1. A number whose weight is 0 does not count even if it is not finite; the mean
    of no examples is NaN. A loss is a metric too: ``lambda y, target: loss.forward(y, target)[0]``.

    Raises (by `update`):
      ValueError: the weights are not of the shape of the metric's numbers.
    """

    def statistics(prediction: PyTree, target: PyTree, weights: Array | None) -> dict[str, Array]:
        values = jnp.asarray(metric(prediction, target)).astype(float)
        counted = example_weights(values.shape, weights)
        return {"total": weighted(values, counted).sum(), "weight": counted.sum()}

    return summed(
        {"total": (), "weight": ()}, statistics, lambda sums: sums["total"] / sums["weight"]
    )


def example_weights(shape: tuple[int, ...], weights: Array | None) -> Array:
    """The weights as floats; ones of this shape where there are none.

    Raises:
      ValueError: they have another shape.
    """
    if weights is None:
        return jnp.ones(shape, float)
    if jnp.shape(weights) != shape:
        raise ValueError(f"expected weights of shape {shape}, got shape {jnp.shape(weights)}")
    return jnp.asarray(weights).astype(float)


def weighted(values: Array, weights: Array) -> Array:
    """weights · values, 0 where the weight is 0, whatever the value."""
    return jnp.where(weights == 0, jnp.zeros_like(values), weights * values)


def _sum(values: Array) -> Sum:
    return Sum(values, jnp.zeros_like(values))


def evaluated_reductions(
    reductions: Mapping[str, Reduction], states: dict[str, PyTree]
) -> dict[str, PyTree]:
    """What each reduction says of its state."""
    return {name: reduction.result(states[name]) for name, reduction in reductions.items()}


def check_reductions(reductions: Mapping[str, Any]) -> None:
    """Refuse what is no reduction, such as a metric or a function that has not been called.

    Raises:
      TypeError: naming it.
    """
    for name, reduction in reductions.items():
        if not isinstance(reduction, Reduction):
            mend = ""
            if callable(reduction):
                own = getattr(reduction, "__name__", name)
                mend = (
                    f" {own}; if it makes one, call it: {own}(…)"
                    if not_taken(reduction, ("prediction", "target"))
                    else f" {own}; of a metric, give mean_of({own})"
                )
            raise TypeError(
                f"reductions, {name!r}: expected a Reduction, got {type(reduction).__name__}{mend}"
            )
