"""How far a step moves the parameters, as a part of their size: ‖Δθ‖ / ‖θ‖.

About 1e-3 is sound; far below, nothing is learned, and far above, what was learned is lost.
Source: the lecture notes of CS231n, "Babysitting the learning process"; Bottou (2012).
"""

from collections import defaultdict
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from fnn.dtypes import accumulation_dtype
from fnn.gradient import value_and_grad
from fnn.layer import Array, Layer, PyTree, Static
from fnn.losses import Loss
from fnn.optimizers import Optimizer
from fnn.tables import table
from fnn.train.options import Batch
from fnn.train.state import TrainState, step_key
from fnn.train.step import unpacked
from fnn.tree import paths


class UpdateRatios(NamedTuple):
    """The squares of the norms of each parameter and of its update; `str()` is a table of the ratios.

    Attributes:
      names: (path, group) of each.
      updates: (P,), ‖Δθ‖².
      parameters: (P,), ‖θ‖².
    """

    names: Static[tuple[tuple[str, str], ...]]
    updates: Array
    parameters: Array

    @property
    def leaves(self) -> dict[str, float]:
        """‖Δθ‖ / ‖θ‖ by path; NaN where the parameter is all 0."""
        moved, size = np.asarray(self.updates), np.asarray(self.parameters)
        return {
            path: _ratio(u, p)
            for (path, _), u, p in zip(self.names.value, moved, size, strict=True)
        }

    @property
    def groups(self) -> dict[str, float]:
        """The same of each group: of all its parameters as one vector."""
        return {group: _ratio(*both) for group, both in self._sums().items()}

    def _sums(self) -> dict[str, tuple[float, float]]:
        moved: dict[str, float] = defaultdict(float)
        size: dict[str, float] = defaultdict(float)
        for (_, group), u, p in zip(
            self.names.value, np.asarray(self.updates), np.asarray(self.parameters), strict=True
        ):
            moved[group] += float(u)
            size[group] += float(p)
        return {group: (moved[group], size[group]) for group in moved}

    def __str__(self) -> str:
        leaves = [path for path, _ in self.names.value]
        own = zip(leaves, np.asarray(self.updates), np.asarray(self.parameters), strict=True)
        sums = [(f"all of {name}", *both) for name, both in self._sums().items()]
        lines = [[name, _text(float(u), float(p))] for name, u, p in (*own, *sums)]
        return "\n".join(table(["parameter", "‖Δθ‖ / ‖θ‖"], lines))


def layer_group(path: str) -> str:
    """The group of a parameter: the first name in its path, such as ``block_1``; "" where it has none."""
    return path.partition("/")[0]


def update_ratios(
    params: PyTree, updates: PyTree, *, group: Callable[[str], str] = layer_group
) -> UpdateRatios:
    """The ratios of an optimizer's updates, or of the difference of two sets of parameters; jittable.

    Args:
      params: before the step.
      updates: what is added to them, a tree like it.
      group: path -> the group that the parameter counts for.

    Raises:
      ValueError: the trees differ.
    """
    own, moved = paths(params), paths(updates)
    if [(path, jnp.shape(p)) for path, p in own] != [(path, jnp.shape(u)) for path, u in moved]:
        raise ValueError(
            "update_ratios: expected updates of the tree and shapes of params, got "
            f"{[path for path, _ in moved]} for {[path for path, _ in own]}"
        )
    names = tuple((path, group(path)) for path, _ in own)
    return UpdateRatios(Static(names), _squares(moved), _squares(own))


def step_ratios(
    net: Layer, loss: Loss, optimizer: Optimizer, *, group: Callable[[str], str] = layer_group
) -> Callable[[TrainState, Batch], UpdateRatios]:
    """``look(train_state, batch) -> UpdateRatios`` of the step that would be made next; pure and jitted.

    The train state stays as it is. The gradient is the hand-written one.
    """
    gradient = value_and_grad(net, loss)

    def function(train_state: TrainState, batch: Batch) -> UpdateRatios:
        params, state, memory, *_ = train_state
        x, target, weights = unpacked(batch)
        _, grads = gradient(params, state, x, target, step_key(train_state), weights)
        updates, _ = optimizer.update(grads, memory, params)
        return update_ratios(params, updates, group=group)

    return jax.jit(function)


def _squares(leaves: list[tuple[str, Array]]) -> Array:
    found = []
    for _, leaf in leaves:
        wide = leaf.astype(accumulation_dtype(leaf.dtype))
        found.append(jnp.square(wide).sum().astype(jnp.float32))
    return jnp.stack(found) if found else jnp.zeros(0, jnp.float32)


def _ratio(moved: float, size: float) -> float:
    return float(np.sqrt(moved / size)) if size > 0 else float("nan")


def _text(moved: float, size: float) -> str:
    if size == 0:  # such as the biases before the first step
        return "from 0" if moved > 0 else "0 stays"
    return f"{_ratio(moved, size):.1e}"
