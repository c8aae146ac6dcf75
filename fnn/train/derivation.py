"""The gradient of a step: by hand or by autodiff, of the whole batch or of one micro-batch after another.

With k micro-batches the derivative of the mean loss, ``dl_n = w_n / Σ w``, is cut in k parts, and each
part's backward passes begin with its own: their gradients sum up to that of the whole batch, whatever
the weights, and only one part's cache is in memory at a time.
"""

from collections.abc import Callable, Mapping
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp

from fnn.dtypes import accumulation_dtype
from fnn.gradient import (
    Auxiliary,
    auto_value_and_grad,
    mean_over_examples,
    reduced_by_autodiff,
    reduced_by_hand,
    value_and_grad,
)
from fnn.layer import Array, Layer, PyTree
from fnn.losses import Loss
from fnn.train.examples import joined, part, part_size, unpacked
from fnn.train.options import Batch, Metric, Shardings
from fnn.train.precision import scaled

Rest = tuple[PyTree, PyTree, PyTree, Array, Array | None]  # state, x, target, key, weights


class Derived(NamedTuple):
    """What is known of a batch once it is differentiated."""

    value: Array  # the mean loss, never scaled
    losses: Array  # of every example
    grads: PyTree  # of scale · mean loss
    state: PyTree  # the network's next state
    values: Callable[
        [], dict[str, Array]
    ]  # each metric's of every example, computed where it is called


# (params, rest, scale) -> what is derived; no scale is a scale of 1
Derivation = Callable[[PyTree, Rest, Array | None], Derived]


def derivation(
    net: Layer,
    loss: Loss,
    by: Literal["hand", "auto"],
    *,
    metrics: Mapping[str, Metric],
    micro_batches: int = 1,
    shardings: Shardings | None = None,
) -> Derivation:
    """How a step derives: `by` hand or by autodiff.

    Raises:
      TypeError, ValueError: `micro_batches` is no count.
    """
    if isinstance(micro_batches, bool) or not isinstance(micro_batches, int):
        raise TypeError(f"expected an int for micro_batches, got {micro_batches!r}")
    if micro_batches < 1:
        raise ValueError(f"expected at least one micro-batch, got {micro_batches}")
    whole = (value_and_grad if by == "hand" else auto_value_and_grad)(net, loss)
    reduced = (reduced_by_hand if by == "hand" else reduced_by_autodiff)(net, loss)

    def measured(prediction: PyTree, target: PyTree) -> dict[str, Array]:
        return {name: metric(prediction, target) for name, metric in metrics.items()}

    def at_once(params: PyTree, rest: Rest, scale: Array | None) -> Derived:
        state, x, target, key, weights = rest

        def mean(losses: Array) -> tuple[Array, Array]:
            value, dlosses = mean_over_examples(losses, weights)
            return value, scaled(dlosses, scale)

        (value, auxiliary), grads = (
            whole(params, *rest) if scale is None else reduced(params, state, x, target, key, mean)
        )
        return Derived(
            value,
            auxiliary.losses,
            grads,
            auxiliary.state,
            lambda: measured(auxiliary.prediction, target),
        )

    def in_parts(params: PyTree, rest: Rest, scale: Array | None) -> Derived:
        state, x, target, key, weights = rest
        batch: Batch = (x, target) if weights is None else (x, target, weights)
        devices = 1 if shardings is None else shardings.batch_parts
        part_size(batch, micro_batches, devices)  # refuses what cannot be cut

        def body(
            carry: tuple[PyTree, PyTree], index: Array
        ) -> tuple[tuple[PyTree, PyTree], tuple[Array, dict[str, Array]]]:
            state, total = carry
            own = part(batch, index, micro_batches)
            x, target, own_weights = unpacked(own if shardings is None else shardings.batch(own))

            def shares(losses: Array) -> tuple[Array, Array]:
                dlosses = _shares(losses, own_weights, weights, micro_batches)
                return losses, scaled(dlosses, scale)

            auxiliary: Auxiliary
            (losses, auxiliary), grads = reduced(
                params, state, x, target, jax.random.fold_in(key, index), shares
            )
            total = jax.tree.map(lambda t, g: t + g.astype(t.dtype), total, grads)
            return (auxiliary.state, total), (losses, measured(auxiliary.prediction, target))

        zeros = jax.tree.map(lambda p: jnp.zeros(p.shape, accumulation_dtype(p.dtype)), params)
        indices = jnp.arange(micro_batches, dtype=jnp.int32)
        (state, grads), collected = jax.lax.scan(body, (state, zeros), indices)
        losses, values = jax.tree.map(joined, collected)
        if scale is None:
            grads = jax.tree.map(lambda g, p: g.astype(p.dtype), grads, params)
        value, _ = mean_over_examples(losses, weights)
        return Derived(value, losses, grads, state, lambda: values)

    return at_once if micro_batches == 1 else in_parts


def _shares(losses: Array, own: Array | None, weights: Array | None, parts: int) -> Array:
    """The derivative of the whole batch's mean with respect to one part's losses.

    Raises:
      ValueError: the part's weights are not of its losses' shape, or there is no loss.
    """
    if losses.size == 0:
        raise ValueError(f"expected at least one example, got losses of shape {losses.shape}")
    if own is None or weights is None:
        return jnp.full(losses.shape, 1 / (parts * losses.size), losses.dtype)
    own = jnp.asarray(own)
    if own.shape != losses.shape:
        raise ValueError(
            f"expected weights of the losses' shape {losses.shape}, got shape {own.shape}, in each of "
            f"{parts} micro-batches"
        )
    wide = accumulation_dtype(losses.dtype)
    return (own.astype(wide) / jnp.asarray(weights).astype(wide).sum()).astype(losses.dtype)
