"""Where the first number that is not finite came from."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from fnn.gradient import auto_value_and_grad, value_and_grad
from fnn.layer import Array, Key, Layer, PyTree
from fnn.losses import Loss
from fnn.optimizers import Minimizer, Optimizer, apply_updates
from fnn.tap import passages
from fnn.train.options import Batch, Gradient
from fnn.train.state import TrainState, step_key
from fnn.train.step import global_norm, unpacked
from fnn.tree import paths


class NonFiniteError(FloatingPointError):
    """Training met a number that is not finite; `train_state` is the last good one."""

    def __init__(self, message: str, train_state: TrainState) -> None:
        super().__init__(message)
        self.train_state = train_state


def explain(
    net: Layer,
    loss: Loss,
    optimizer: Optimizer | Minimizer,
    gradient: Gradient,
    train_state: TrainState,
    batch: Batch,
) -> str:
    """A sentence that names the first thing in the next step of `train_state` that is not finite.

    In the order of computation: what `first_nonfinite` looks at, the loss itself, autodiff's gradient
    where the step uses it, the network's next state, and what the optimizer makes of the gradient.
    """
    params, state, memory, *_ = train_state
    x, target, weights = unpacked(batch)
    arguments = (params, state, x, target, step_key(train_state), weights)
    if found := first_nonfinite(net, loss, *arguments):
        return found
    (value, auxiliary), grads = jax.jit(value_and_grad(net, loss))(*arguments)
    if not jnp.isfinite(value):
        place = _nonfinite(auxiliary.losses) or ", in the mean of all"
        return f"First not finite: the loss {loss.name}{place}; its gradient is finite."
    if gradient != "hand":
        (auto_value, _), auto = jax.jit(auto_value_and_grad(net, loss))(*arguments)
        if place := _nonfinite(auto):
            return (
                f"First not finite: the gradient that jax.grad derives{place}; the hand-written one is "
                "finite."
            )
        value, grads = (auto_value, auto) if gradient == "auto" else (value, grads)
    if place := _nonfinite(auxiliary.state):
        return f"First not finite: the network's next state{place}."
    if not jnp.isfinite(global_norm(grads)):
        return "Every layer's output and gradient is finite; their sum of squares overflows."
    if isinstance(optimizer, Minimizer):
        differentiate = (auto_value_and_grad if gradient == "auto" else value_and_grad)(net, loss)

        def objective(params: PyTree) -> tuple[Array, PyTree]:
            (value, _), grads = differentiate(params, *arguments[1:])
            return value, grads

        search = jax.jit(partial(optimizer.update, objective))
        updates, _ = search(value, grads, memory, params)
    else:
        updates, _ = jax.jit(optimizer.update)(grads, memory, params)
    for what, tree in (
        ("the optimizer's update of", updates),
        ("after the optimizer's finite update,", apply_updates(params, updates)),
    ):
        if place := _nonfinite(tree):
            return f"First not finite: {what} the parameters{place}. Is the rate too large?"
    return (
        "Run again by itself, every part of the step is finite: it is at the edge of overflowing."
    )


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
