"""The Gauss-Newton matrix G = Jᵀ H J of a network and a loss: its product with a vector, its diagonal.

J is the derivative of the predictions by the parameters, H the Hessian of the mean loss by the
predictions. Where the loss is convex in the prediction, G has no negative curvature, as the Hessian of
the whole may have; it is the same where the network is linear.
"""

from collections.abc import Callable
from typing import NamedTuple, Protocol

import jax
import jax.numpy as jnp

from fnn.dtypes import accumulation_dtype
from fnn.gradient import mean_over_examples
from fnn.layer import Array, Key, Layer, PyTree
from fnn.losses import Loss
from fnn.optimizers.descent import descend
from fnn.optimizers.hyperparameters import (
    Given,
    Hyper,
    check_hyper,
    current_hyper,
    first_step,
    initial_hyper,
    next_step,
    started,
)
from fnn.optimizers.leafwise import check_alike, check_kind, check_real, zeros
from fnn.optimizers.minimizers.vectors import (
    add_scaled,
    dot,
    scalar_dtype,
    scaled,
    unflattened,
    wide,
)
from fnn.optimizers.optimizer import Optimizer, compose
from fnn.random import child_key

# How many columns of J are computed at a time for the exact diagonal.
_COLUMNS = 32


class Diagonal(Protocol):
    """The diagonal on a batch: exact, or the mean of `samples` draws."""

    def __call__(
        self,
        params: PyTree,
        state: PyTree,
        x: PyTree,
        target: PyTree,
        key: Key = None,
        samples: int | None = None,
        weights: Array | None = None,
    ) -> PyTree: ...


def gauss_newton_product(net: Layer, loss: Loss) -> Callable[..., PyTree]:
    """``f(params, state, x, target, tangent, key=None, weights=None) -> G tangent``, like params.

    Forward mode through the network and through the loss's hand-written derivative, then the network's
    hand-written backward: ``J v``, ``H (J v)``, ``Jᵀ (H J v)``. Source: Schraudolph (2002).
    """

    def function(
        params: PyTree,
        state: PyTree,
        x: PyTree,
        target: PyTree,
        tangent: PyTree,
        key: Key = None,
        weights: Array | None = None,
    ) -> PyTree:
        _, curved, cache = _curved(net, loss, params, state, x, target, tangent, key, weights)
        return net.backward(params, cache, curved)[0]

    return function


def gauss_newton_diagonal(net: Layer, loss: Loss) -> Diagonal:
    """``f(params, state, x, target, key=None, samples=None, weights=None) -> diag(G)``, like params.

    At least float32. Without `samples` it is exact: ``G_kk = (J e_k) · H (J e_k)``, one forward-mode pass
    for each single parameter, so for small networks. With `samples` it is the mean of as many draws
    ``v ⊙ G v``, with v of independent signs: right in the mean (Hutchinson, 1990; Bekas, Kokiopoulou,
    Saad, 2007), at twice the cost of a gradient each, and a single entry may come out negative. The
    signs are drawn with a key of their own, made from `key`.

    Raises:
      ValueError: less than one sample, or samples without a key.
    """
    product = gauss_newton_product(net, loss)

    def function(
        params: PyTree,
        state: PyTree,
        x: PyTree,
        target: PyTree,
        key: Key = None,
        samples: int | None = None,
        weights: Array | None = None,
    ) -> PyTree:
        dtype = scalar_dtype(params)
        if samples is None:

            def entry(k: Array) -> Array:
                n = sum(leaf.size for leaf in jax.tree.leaves(params))
                unit = unflattened((jnp.arange(n) == k).astype(dtype), params)
                pushed, curved, _ = _curved(net, loss, params, state, x, target, unit, key, weights)
                return dot(pushed, curved, dtype)

            count = sum(leaf.size for leaf in jax.tree.leaves(params))
            entries = jax.lax.map(entry, jnp.arange(count), batch_size=_COLUMNS)
            return unflattened(entries, params)
        if samples < 1:
            raise ValueError(f"expected at least one sample of the diagonal, got {samples}")
        probes = child_key(key, "probes")
        if probes is None:
            raise ValueError("expected a key to draw samples of the diagonal with, got None")

        def add(i: Array, total: PyTree) -> PyTree:
            v = _signs(jax.random.fold_in(probes, i), params)
            g_v = product(params, state, x, target, v, key, weights)
            return jax.tree.map(jnp.add, total, jax.tree.map(jnp.multiply, wide(v), wide(g_v)))

        total = jax.lax.fori_loop(0, samples, add, jax.tree.map(zeros, params))
        return scaled(jnp.asarray(1 / samples, dtype), total)

    return function


def _curved(
    net: Layer,
    loss: Loss,
    params: PyTree,
    state: PyTree,
    x: PyTree,
    target: PyTree,
    tangent: PyTree,
    key: Key,
    weights: Array | None,
) -> tuple[PyTree, PyTree, PyTree]:
    """J v, H J v and the cache of the forward pass."""

    def forward(params: PyTree) -> tuple[PyTree, PyTree]:
        y, _, cache = net.forward(params, state, x, key)
        return y, cache

    tangent = jax.tree.map(lambda v, p: v.astype(p.dtype), tangent, params)
    prediction, pushed, cache = jax.jvp(forward, (params,), (tangent,), has_aux=True)
    losses, _ = loss.forward(prediction, target)
    _, dlosses = mean_over_examples(losses, weights)

    def derivative(prediction: PyTree) -> PyTree:
        return loss.backward(loss.forward(prediction, target)[1], dlosses)

    return pushed, jax.jvp(derivative, (prediction,), (pushed,))[1], cache


def _signs(key: Array, params: PyTree) -> PyTree:
    leaves, structure = jax.tree.flatten(params)
    signs = [
        jax.random.rademacher(jax.random.fold_in(key, i), leaf.shape, leaf.dtype)
        for i, leaf in enumerate(leaves)
    ]
    return jax.tree.unflatten(structure, signs)


class CurvatureState(NamedTuple):
    """What the transform by a diagonal remembers."""

    steps: Array  # (), int32, made so far
    hyper: Hyper  # decay, damping, as far as they were given as numbers
    slots: dict[str, PyTree]  # "mean": of the diagonals; like params, at least float32


def diagonal_newton(
    rate: Given = 1.0,
    decay: Given = 0.0,
    damping: Given = 1e-3,
    *,
    curvature: Callable[[PyTree, Array], PyTree],
    every: int = 1,
) -> Optimizer:
    """Newton's step for each parameter by itself, from a diagonal of the curvature.

        d ← decay · d + (1 - decay) · curvature(params, steps), every so many steps
        params ← params - rate · g / (max(d / (1 - decayᵗ), 0) + damping), t the diagonals taken so far

    Hyperparameters: rate, decay, damping. The state holds one array for each parameter, at least float32.
    `curvature` may look at any batch, such as a fixed one:

        diagonal = gauss_newton_diagonal(net, loss)
        diagonal_newton(curvature=lambda p, t: diagonal(p, state, x, target, fold_in(key, t), 1))

    `train.step` calls an optimizer in two places; ``as_minimizer(diagonal_newton(…))`` has the curvature
    computed once. Sources: Becker, LeCun (1988); LeCun, Bottou, Orr, Müller (1998).

    Args:
      rate: 1 is Newton's.
      decay: of the mean of the diagonals; 0 for the last one alone.
      damping: added to every curvature.
      curvature: ``curvature(params, steps) -> diagonal``, like params.
      every: steps from one diagonal to the next.

    Raises:
      ValueError: `every` is below 1, or a hyperparameter out of range.
    """
    return compose(
        curvature=_scale_by_curvature(curvature, decay, damping, every), rate=descend(rate)
    )


def _scale_by_curvature(
    curvature: Callable[[PyTree, Array], PyTree], decay: Given, damping: Given, every: int
) -> Optimizer:
    if every < 1:
        raise ValueError(f"expected every of diagonal_newton at least 1, got {every}")
    hyper = {"decay": decay, "damping": damping}
    check_hyper(**hyper)

    def init(params: PyTree) -> CurvatureState:
        check_real(params, "parameters")
        mean = jax.tree.map(zeros, params)
        return CurvatureState(first_step(), initial_hyper(**hyper), {"mean": mean})

    def update(
        grads: PyTree, state: CurvatureState, params: PyTree
    ) -> tuple[PyTree, CurvatureState]:
        check_alike(grads, params, "gradients")
        check_real(grads, "gradients")
        check_kind(state, CurvatureState)
        now = current_hyper(state.hyper, state.steps, **hyper)

        def refreshed(mean: PyTree) -> PyTree:
            seen = curvature(params, state.steps)
            check_alike(seen, params, "a curvature")
            seen = jax.tree.map(lambda d, m: d.astype(m.dtype), seen, mean)
            return add_scaled(scaled(now["decay"], mean), 1 - now["decay"], seen)

        mean = state.slots["mean"]
        if every == 1:
            mean = refreshed(mean)
        else:
            mean = jax.lax.cond(
                jnp.mod(state.steps, every) == 0, refreshed, lambda mean: mean, mean
            )
        t = (state.steps // every).astype(jnp.result_type(float)) + 1
        filled = started(now["decay"], t)

        def divided(g: Array, d: Array) -> Array:
            dtype = accumulation_dtype(g.dtype)
            curved = jnp.maximum(d / filled.astype(dtype), 0) + now["damping"].astype(dtype)
            # Without curvature and without damping, the gradient's own step.
            return g.astype(dtype) / jnp.where(curved == 0, jnp.ones_like(curved), curved)

        updates = jax.tree.map(divided, grads, mean)
        return updates, CurvatureState(next_step(state.steps), state.hyper, {"mean": mean})

    return Optimizer(init, update)
