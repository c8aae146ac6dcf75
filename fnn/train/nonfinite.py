"""Where the first number that is not finite came from."""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from fnn.layer import Array, Key, Layer, PyTree
from fnn.losses import Loss
from fnn.optimizers import Minimizer, apply_updates
from fnn.tap import passages
from fnn.train.derivation import Derivation, Rest, derivation
from fnn.train.examples import part, unpacked
from fnn.train.norms import global_norm
from fnn.train.options import Batch, Gradient
from fnn.train.precision import AnyOptimizer, LossScaled, scale_of, scaled_loss
from fnn.train.state import TrainState, step_key
from fnn.tree import paths


class NonFiniteError(FloatingPointError):
    """Training met a number that is not finite; `train_state` is the last good one."""

    def __init__(self, message: str, train_state: TrainState) -> None:
        super().__init__(message)
        self.train_state = train_state


def explain(
    net: Layer,
    loss: Loss,
    optimizer: AnyOptimizer,
    gradient: Gradient,
    train_state: TrainState,
    batch: Batch,
    micro_batches: int = 1,
) -> str:
    """A sentence that names the first thing in the next step of `train_state` that is not finite.

    In the order of computation: what `first_nonfinite` looks at, in one micro-batch after another, the
    loss itself, autodiff's gradient where the step uses it, the network's next state, and what the
    optimizer makes of the gradient. With `loss_scaling`, gradients are those of the scaled loss.
    """
    params, state, memory, *_ = train_state
    scale = scale_of(optimizer, memory)
    x, target, weights = unpacked(batch)
    rest = (state, x, target, step_key(train_state), weights)
    found = (
        first_nonfinite(net, scaled_loss(loss, scale), params, *rest)
        if micro_batches == 1
        else _first_in_parts(net, loss, scale, params, rest, micro_batches)
    )
    if found:
        return found
    hand, auto = (
        derivation(net, loss, by, metrics={}, micro_batches=micro_batches)
        for by in ("hand", "auto")
    )
    value, losses, grads, next_state = _derived(hand)(params, rest, scale)
    if not jnp.isfinite(value):
        place = _nonfinite(losses) or ", in the mean of all"
        return f"First not finite: the loss {loss.name}{place}; its gradient is finite."
    if gradient != "hand":
        auto_value, _, auto_grads, _ = _derived(auto)(params, rest, scale)
        if place := _nonfinite(auto_grads):
            return (
                f"First not finite: the gradient that jax.grad derives{place}; the hand-written one is "
                "finite."
            )
        value, grads = (auto_value, auto_grads) if gradient == "auto" else (value, grads)
    if place := _nonfinite(next_state):
        return f"First not finite: the network's next state{place}."
    if not jnp.isfinite(global_norm(grads)):
        return "Every layer's output and gradient is finite; their sum of squares overflows."
    update: Callable[..., tuple[PyTree, PyTree]]
    if isinstance(optimizer, Minimizer):
        derive = auto if gradient == "auto" else hand

        def objective(params: PyTree) -> tuple[Array, PyTree]:
            derived = derive(params, rest, None)
            return derived.value, derived.grads

        update = partial(optimizer.update, objective, value)
    elif isinstance(optimizer, LossScaled):

        def update(grads: PyTree, memory: PyTree, params: PyTree) -> tuple[PyTree, PyTree]:
            return optimizer.update(grads, memory.scale, memory, params)

    else:
        update = optimizer.update
    updates, _ = jax.jit(update)(grads, memory, params)
    for what, tree in (
        ("the optimizer's update of", updates),
        ("after the optimizer's finite update,", apply_updates(params, updates)),
    ):
        if place := _nonfinite(tree):
            return f"First not finite: {what} the parameters{place}. Is the rate too large?"
    return (
        "Run again by itself, every part of the step is finite: it is at the edge of overflowing."
    )


def _derived(derive: Derivation) -> Callable[..., tuple[Array, Array, PyTree, PyTree]]:
    """The mean loss, the losses, the gradient and the network's next state, compiled."""

    def function(
        params: PyTree, rest: Rest, scale: Array | None
    ) -> tuple[Array, Array, PyTree, PyTree]:
        derived = derive(params, rest, scale)
        return derived.value, derived.losses, derived.grads, derived.state

    return jax.jit(function)


def _first_in_parts(
    net: Layer, loss: Loss, scale: Array | None, params: PyTree, rest: Rest, micro_batches: int
) -> str | None:
    """What `first_nonfinite` finds, and in which micro-batch."""
    state, x, target, key, weights = rest
    if weights is not None and not jnp.any(weights):
        return first_nonfinite(net, loss, params, *rest)
    batch: Batch = (x, target) if weights is None else (x, target, weights)
    forward = jax.jit(lambda state, x, key: net.forward(params, state, x, key)[1])
    for index in range(micro_batches):
        x, target, own = unpacked(part(batch, index, micro_batches))
        own_key = jax.random.fold_in(key, index)
        share = 1 / micro_batches if own is None or weights is None else own.sum() / weights.sum()
        if share > 0:
            whole = scaled_loss(loss, jnp.float32(share) * (1 if scale is None else scale))
            found = first_nonfinite(net, whole, params, state, x, target, own_key, own)
            if found:
                return f"In micro-batch {index} of {micro_batches}, from 0. {found}"
        state = forward(state, x, own_key)
    return None


def first_nonfinite(
    net: Layer,
    loss: Loss,
    params: PyTree,
    state: PyTree,
    x: PyTree,
    target: PyTree,
    key: Key,
    weights: Array | None = None,
) -> str | None:
    """A sentence that names the first thing in a training pass that is not finite; None if all is.

    In the order of computation: the data, the parameters, each layer's output, the loss, and then
    backwards each layer's gradients. Where the loss refuses the targets, its reason is added.
    """
    given = {
        "the input x": x,
        "the target": target,
        "the weights": weights,
        "the parameters": params,
        "the network's state": state,
    }
    for what, tree in given.items():
        if place := _nonfinite(tree):
            return f"First not finite: {what}{place}."
    if weights is not None and not jnp.any(weights):
        return "First not finite: the mean loss, as the weights of all examples are 0."
    seen = passages(net, loss, params, state, x, target, key, weights)
    for path, passage in seen.items():
        if place := _nonfinite(passage.y):
            return f"First not finite: the output of layer {_called(path, passage.layer)}{place}."
    last = list(seen)[-1] if seen else ""
    if seen and (place := _nonfinite(seen[last].dy)):
        prediction, _, _ = jax.jit(net.forward)(params, state, x, key)
        reason = _refusal(loss, prediction, target)
        return f"First not finite: the loss {loss.name} or its gradient{place}.{reason}"
    for path, passage in reversed(seen.items()):
        for what, tree in (("dparams", passage.dparams), ("dx", passage.dx)):
            if place := _nonfinite(tree):
                return (
                    f"First not finite: the gradient {what} of layer "
                    f"{_called(path, passage.layer)}{place}."
                )
    return None


def _refusal(loss: Loss, prediction: PyTree, target: PyTree) -> str:
    """Why the loss refuses these targets, now that their values can be looked at."""
    try:
        loss.forward(prediction, target)
    except ValueError as error:
        return f" {error}."
    return ""


def _called(path: str, layer: Layer) -> str:
    return f"{path or layer.name} ({layer.name})"


def _nonfinite(tree: PyTree) -> str:
    """Which leaf and index of `tree` is the first that is not finite; "" if there is none."""
    for path, leaf in paths(tree):
        if not jnp.issubdtype(jax.dtypes.result_type(leaf), jnp.floating):
            continue
        values = np.asarray(leaf, np.float64)
        bad = np.argwhere(~np.isfinite(values))
        if bad.size:
            index = tuple(int(i) for i in bad[0])
            where = f" {path}" if path else ""
            share = f"{len(bad)} of {values.size}"
            return f"{where}, at index {index}: {values[index]} ({share} values are not finite)"
    return ""
