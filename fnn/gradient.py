"""Gradients of a whole network by its hand-written passes, and the doors to jax's own transforms."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from fnn.dtypes import accumulation_dtype
from fnn.layer import Array, Key, Layer, PyTree
from fnn.losses.loss import Loss


class Auxiliary(NamedTuple):
    """What a training pass computes besides the mean loss."""

    state: PyTree  # the network's next state
    prediction: PyTree  # the network's output
    losses: Array  # the loss of every example


Differentiated = Callable[..., tuple[tuple[Array, Auxiliary], PyTree]]
# losses -> a value of them, and the derivative of something with respect to each: see `reduced_by_hand`
LossReduction = Callable[[Array], tuple[Array, Array]]


def mean_over_examples(values: Array, weights: Array | None = None) -> tuple[Array, Array]:
    """The mean of a batch's values, and its derivative with respect to each of them.

    Forward: ``L = Σ w_n l_n / Σ w_n``, without weights ``Σ l_n / N``. Backward: ``dl_n = w_n / Σ w_n``,
    without weights ``1 / N``. Weights are not negative, of the values' shape, and of any dtype: a mask
    of booleans is weights of 0 and 1. Values that are no floats, such as whether each prediction is
    right, are taken as floats. A value whose weight is 0 does not count even if it is not finite.
    If no weight is above 0, the mean of nothing is NaN, and a train step is not made.

    Raises:
      ValueError: there are no values, or the weights have another shape.
    """
    if values.size == 0:
        raise ValueError(f"expected at least one example, got losses of shape {values.shape}")
    if not jnp.issubdtype(values.dtype, jnp.inexact):
        values = values.astype(float)  # weights would be cut to the integers that these are
    if weights is None:
        return values.mean(), jnp.full(values.shape, 1 / values.size, values.dtype)
    weights = jnp.asarray(weights)
    if weights.shape != values.shape:
        raise ValueError(
            f"expected weights of the losses' shape {values.shape}, got shape {weights.shape}"
        )
    wide = weights.astype(accumulation_dtype(values.dtype))  # float16 ends at 65504 examples
    shares = wide / wide.sum()
    counted = jnp.where(weights.astype(bool), values, jnp.zeros_like(values)).astype(wide.dtype)
    return (shares * counted).sum().astype(values.dtype), shares.astype(values.dtype)


def mean_loss(net: Layer, loss: Loss) -> Callable[..., tuple[Array, Auxiliary]]:
    """``f(params, state, x, target, key=None, weights=None) -> (mean, auxiliary)``: forward alone."""

    def function(
        params: PyTree,
        state: PyTree,
        x: PyTree,
        target: PyTree,
        key: Key = None,
        weights: Array | None = None,
    ) -> tuple[Array, Auxiliary]:
        prediction, state, _ = net.forward(params, state, x, key)
        losses, _ = loss.forward(prediction, target)
        return mean_over_examples(losses, weights)[0], Auxiliary(state, prediction, losses)

    return function


def value_and_grad(net: Layer, loss: Loss) -> Differentiated:
    """``f(params, state, x, target, key=None, weights=None) -> ((mean, auxiliary), dparams)``, by hand.

    The mean loss is `mean_over_examples`, whose backward is one line; the rest is the loss's backward
    and the network's. It is plain jax, so it can be differentiated itself (see `hvp`).

    Raises:
      ValueError: the batch is empty, or the weights are not of the losses' shape.
    """
    reduced = reduced_by_hand(net, loss)

    def function(
        params: PyTree,
        state: PyTree,
        x: PyTree,
        target: PyTree,
        key: Key = None,
        weights: Array | None = None,
    ) -> tuple[tuple[Array, Auxiliary], PyTree]:
        def mean(losses: Array) -> tuple[Array, Array]:
            return mean_over_examples(losses, weights)

        return reduced(params, state, x, target, key, mean)

    return function


def reduced_by_hand(net: Layer, loss: Loss) -> Differentiated:
    """``f(params, state, x, target, key, reduction) -> ((value, auxiliary), dparams)``, by hand.

    ``reduction(losses) -> (value, dlosses)`` says what becomes of the examples' losses: `dlosses`, of
    their shape and dtype, is what the backward passes begin with. That of `value_and_grad` is the mean
    and its derivative; a multiple of it scales the gradients, and a part of it is the share that a part
    of a larger batch has in that batch's gradient.
    """

    def function(
        params: PyTree,
        state: PyTree,
        x: PyTree,
        target: PyTree,
        key: Key,
        reduction: LossReduction,
    ) -> tuple[tuple[Array, Auxiliary], PyTree]:
        prediction, state, cache = net.forward(params, state, x, key)
        losses, loss_cache = loss.forward(prediction, target)
        value, dlosses = reduction(losses)
        dprediction = loss.backward(loss_cache, dlosses)
        dparams, _ = net.backward(params, cache, dprediction)
        return (value, Auxiliary(state, prediction, losses)), dparams

    return function


def reduced_by_autodiff(net: Layer, loss: Loss) -> Differentiated:
    """The same function as `reduced_by_hand`, by `jax.vjp` of the forward passes."""

    def function(
        params: PyTree,
        state: PyTree,
        x: PyTree,
        target: PyTree,
        key: Key,
        reduction: LossReduction,
    ) -> tuple[tuple[Array, Auxiliary], PyTree]:
        def forward(params: PyTree) -> tuple[Array, Auxiliary]:
            prediction, after, _ = net.forward(params, state, x, key)
            losses, _ = loss.forward(prediction, target)
            return losses, Auxiliary(after, prediction, losses)

        losses, pull_back, auxiliary = jax.vjp(forward, params, has_aux=True)
        value, dlosses = reduction(losses)
        return (value, auxiliary), pull_back(dlosses)[0]

    return function


def auto_value_and_grad(net: Layer, loss: Loss) -> Differentiated:
    """The same function as `value_and_grad`, derived by `jax.value_and_grad` from the forward pass."""
    return jax.value_and_grad(mean_loss(net, loss), has_aux=True)


def hvp(net: Layer, loss: Loss) -> Callable[..., PyTree]:
    """``f(params, state, x, target, tangent, key=None, weights=None) -> H tangent``, H the Hessian.

    Of the mean loss. Forward mode over the hand-written gradient: ``H v = d/dε ∇L(params + ε v)`` at
    ε = 0, for about twice the cost of the gradient and no more memory than it. Source: Pearlmutter
    (1994).
    """
    gradient = value_and_grad(net, loss)

    def function(
        params: PyTree,
        state: PyTree,
        x: PyTree,
        target: PyTree,
        tangent: PyTree,
        key: Key = None,
        weights: Array | None = None,
    ) -> PyTree:
        def gradients(params: PyTree) -> PyTree:
            return gradient(params, state, x, target, key, weights)[1]

        return jax.jvp(gradients, (params,), (tangent,))[1]

    return function


def custom_vjp(net: Layer) -> Callable[..., tuple[PyTree, PyTree]]:
    """``apply(params, state, x, key=None) -> (y, state)``, whose `jax.grad` is the hand-written backward.

    For programs of one's own that call `jax.grad`. The state that comes out is data: it has no
    derivative. Reverse mode only, as with every `jax.custom_vjp`; where forward mode is wanted, use
    `net.forward`, which stays differentiable in both.
    """

    @jax.custom_vjp
    def run(params: PyTree, state: PyTree, x: PyTree, key: Key) -> tuple[PyTree, PyTree]:
        y, state, _ = net.forward(params, state, x, key)
        return y, state

    def forward(
        params: PyTree, state: PyTree, x: PyTree, key: Key
    ) -> tuple[tuple[PyTree, PyTree], tuple[PyTree, PyTree]]:
        y, state, cache = net.forward(params, state, x, key)
        return (y, state), (params, cache)

    def backward(
        kept: tuple[PyTree, PyTree], cotangents: tuple[PyTree, PyTree]
    ) -> tuple[PyTree, None, PyTree, None]:
        params, cache = kept
        dy, _ = cotangents  # the next state is data
        dparams, dx = net.backward(params, cache, dy)
        return dparams, None, dx, None

    run.defvjp(forward, backward)

    def apply(params: PyTree, state: PyTree, x: PyTree, key: Key = None) -> tuple[PyTree, PyTree]:
        return run(params, state, x, key)

    return apply
