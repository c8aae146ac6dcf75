"""Where the first number that is not finite came from."""

import jax
import jax.numpy as jnp
import numpy as np

from fnn.layer import Array, Key, Layer, PyTree
from fnn.losses import Loss
from fnn.tap import passages
from fnn.train.state import TrainState
from fnn.tree import paths


class NonFiniteError(FloatingPointError):
    """Training met a loss or gradient that is not finite; `train_state` is the last good one."""

    def __init__(self, message: str, train_state: TrainState) -> None:
        super().__init__(message)
        self.train_state = train_state


def first_nonfinite(
    net: Layer, loss: Loss, params: PyTree, state: PyTree, x: PyTree, target: Array, key: Key
) -> str:
    """A sentence that names the first thing in a training step that is not finite.

    In the order of computation: the data, the parameters, each layer's output, the loss, and then
    backwards each layer's gradients.
    """
    for what, tree in (("the input x", x), ("the target", target), ("the parameters", params)):
        if place := _nonfinite(tree):
            return f"First not finite: {what}{place}."
    seen = passages(net, loss, params, state, x, target, key)
    for path, passage in seen.items():
        if place := _nonfinite(passage.y):
            return f"First not finite: the output of layer {_called(path, passage.layer)}{place}."
    last = list(seen)[-1] if seen else ""
    if seen and (place := _nonfinite(seen[last].dy)):
        return f"First not finite: the loss {loss.name} or its gradient{place}."
    for path, passage in reversed(seen.items()):
        for what, tree in (("dparams", passage.dparams), ("dx", passage.dx)):
            if place := _nonfinite(tree):
                return (
                    f"First not finite: the gradient {what} of layer "
                    f"{_called(path, passage.layer)}{place}."
                )
    return "Every layer's output and gradient is finite; their sum of squares overflows."


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
