"""Training in float16: the loss is scaled, so that small gradients do not vanish.

float16 has nothing between 0 and 6e-8, where many gradients lie, and nothing above 65504.

    net = fnn.mixed(network, jnp.float16)
    optimizer = train.loss_scaling(adam(1e-3))
    for report in train.fit(net, loss, optimizer, train.init(net, optimizer, key, x), …):
        print(report.info.scale[-1], report.train_state.optimizer.skipped)

bfloat16 has the range of float32 and needs none of this: `fnn.mixed(network)` is enough.
"""

import math
from typing import NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from fnn.dtypes import accumulation_dtype
from fnn.layer import Array, PyTree
from fnn.losses import Loss
from fnn.optimizers import Minimizer, Optimizer
from fnn.optimizers.optimizer import OptimizerInit, check_optimizer


class ScaleState(NamedTuple):
    """What loss scaling remembers besides the optimizer's own state."""

    scale: Array  # (), float32: what the next loss is multiplied by
    good: Array  # (), int32: steps made since the scale last changed
    skipped: Array  # (), int32: batches skipped so far
    optimizer: PyTree  # the optimizer's state


class ScaledUpdate(Protocol):
    """The step to add to `params`, and the next state, from finite gradients of `scale` · loss."""

    def __call__(
        self, grads: PyTree, scale: Array, state: ScaleState, params: PyTree, /
    ) -> tuple[PyTree, ScaleState]: ...


class ScaledSkip(Protocol):
    """The state after gradients that were not finite; and, (), bool, whether the batch is skipped.

    It is not where no lower scale is left; the state is then the same.
    """

    def __call__(self, state: ScaleState, /) -> tuple[ScaleState, Array]: ...


class LossScaled(NamedTuple):
    """An optimizer whose losses are scaled, for `train.init` and the steps of `fnn.train`."""

    init: OptimizerInit
    update: ScaledUpdate
    skip: ScaledSkip


AnyOptimizer = Optimizer | Minimizer | LossScaled


def loss_scaling(
    optimizer: Optimizer,
    initial: float = 2.0**15,
    *,
    growth: float = 2.0,
    backoff: float = 0.5,
    interval: int = 2000,
    floor: float = 1.0,
    ceiling: float = 2.0**24,
) -> LossScaled:
    """The optimizer, for gradients of a loss that is scaled by as much as float16 can hold.

    The step multiplies the derivative of the mean loss by `scale` before the backward pass, whose
    gradients are then `scale` times as large, and divides them in float32 before the optimizer sees
    them. If anything of the step is not finite (see `train.step`), the batch is skipped: parameters,
    network state and the optimizer's state stay, so that a schedule waits; the step counts, and
    ``scale ← backoff · scale``. After `interval` steps in a row that were made, ``scale ← min(growth ·
    scale, ceiling)``. In float32 and with powers of two for the scale, nothing changes by it, to the
    last bit.

    Where a lower scale would be below `floor`, the batch is not skipped but the step not made, as
    without loss scaling, and `train.fit` ends with a `NonFiniteError`: what is not finite is then not
    the scale's fault. Below 1, a scale keeps gradients from overflowing instead. The state's fields are
    those of `ScaleState`; info.scale is the scale that a step was computed with.

    Source: Micikevicius et al. (2018).

    Raises:
      TypeError: what is scaled is no optimizer, or a minimizer, which asks for further gradients.
      ValueError: not 0 < floor ≤ initial ≤ ceiling < ∞, a growth below 1, a backoff outside of (0, 1),
        or an interval below 1.
    """
    if isinstance(optimizer, Minimizer | LossScaled):
        raise TypeError(
            "loss_scaling: expected an optimizer of one gradient a step, got a "
            f"{type(optimizer).__name__}"
        )
    check_optimizer(optimizer, "loss_scaling")
    if not 0 < floor <= initial <= ceiling < math.inf:
        raise ValueError(
            f"loss_scaling: expected 0 < floor ≤ initial ≤ ceiling < ∞, got floor {floor}, initial "
            f"{initial} and ceiling {ceiling}"
        )
    if not (1 <= growth < math.inf and 0 < backoff < 1):
        raise ValueError(
            f"loss_scaling: expected a growth of at least 1 and a backoff in (0, 1), got {growth} and "
            f"{backoff}"
        )
    if interval < 1:
        raise ValueError(f"loss_scaling: expected an interval of at least one step, got {interval}")

    def init(params: PyTree) -> ScaleState:
        scale = jnp.asarray(np.asarray(initial, np.float32))
        return ScaleState(scale, _integer(0), _integer(0), optimizer.init(params))

    def update(
        grads: PyTree, scale: Array, state: ScaleState, params: PyTree
    ) -> tuple[PyTree, ScaleState]:
        updates, inner = optimizer.update(unscaled(grads, scale), state.optimizer, params)
        good = state.good + 1
        grown = jnp.minimum(state.scale * np.float32(growth), np.float32(ceiling))
        due = good >= interval
        return updates, ScaleState(
            jnp.where(due, grown, state.scale),
            jnp.where(due, jnp.zeros_like(good), good),
            state.skipped,
            inner,
        )

    def skip(state: ScaleState) -> tuple[ScaleState, Array]:
        lower = state.scale * np.float32(backoff)
        goes_on = lower >= np.float32(floor)
        return ScaleState(
            jnp.where(goes_on, lower, state.scale),
            jnp.where(goes_on, jnp.zeros_like(state.good), state.good),
            state.skipped + goes_on.astype(state.skipped.dtype),
            state.optimizer,
        ), goes_on

    return LossScaled(init, update, skip)


def unscaled(grads: PyTree, scale: Array) -> PyTree:
    """The gradients, divided by the scale in float32 or wider, and left so."""

    def divided(g: Array) -> Array:
        wide = g.astype(accumulation_dtype(g.dtype))
        return wide / scale.astype(wide.dtype)

    return jax.tree.map(divided, grads)


def scaled(dlosses: Array, scale: Array | None) -> Array:
    """``scale · dlosses``, multiplied in float32 or wider; as they are where there is no scale."""
    if scale is None:
        return dlosses
    wide = dlosses.astype(accumulation_dtype(dlosses.dtype))
    return (wide * scale.astype(wide.dtype)).astype(dlosses.dtype)


def scaled_loss(loss: Loss, scale: Array | None) -> Loss:
    """The loss with a backward pass that is `scale` times as large; the same where there is no scale."""
    if scale is None:
        return loss

    def backward(cache: PyTree, dlosses: Array) -> PyTree:
        return loss.backward(cache, scaled(dlosses, scale))

    return loss._replace(backward=backward)


def scale_of(optimizer: AnyOptimizer, state: PyTree) -> Array | None:
    """What the next loss is multiplied by; None without loss scaling."""
    return state.scale if isinstance(optimizer, LossScaled) else None


def _integer(value: int) -> Array:
    return jnp.asarray(np.asarray(value, np.int32))
