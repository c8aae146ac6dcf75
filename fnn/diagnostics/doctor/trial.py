"""A short training run that writes down how every parameter moved."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from fnn.gradient import value_and_grad
from fnn.layer import Array, Layer, PyTree
from fnn.losses import Loss
from fnn.optimizers import Optimizer, apply_updates, with_hyperparameters
from fnn.train.batches import batch_indices
from fnn.train.examples import example_count, take, unpacked
from fnn.train.options import Batch
from fnn.tree import paths


class Trial(NamedTuple):
    """What was written down, on the host; S steps, P parameters, by the order of `names`."""

    names: tuple[str, ...]  # the paths of the parameters
    losses: np.ndarray  # (S,), of each batch before its step
    moved: np.ndarray  # (S, P), ‖θ after - θ before‖
    sizes: np.ndarray  # (S, P), ‖θ before‖
    pushed: np.ndarray  # (S, P), ‖dL/dθ‖
    params: PyTree  # after the last step
    state: PyTree

    @property
    def first(self) -> float:
        """The loss before any step."""
        return float(self.losses[0])

    @property
    def last(self) -> float:
        """The mean of the last quarter of the losses; infinite if one of them is not finite."""
        tail = self.losses[-max(1, len(self.losses) // 4) :]
        return float(tail.mean()) if np.isfinite(self.losses).all() else float("inf")


def tried(
    net: Layer, loss: Loss, optimizer: Optimizer, batch_size: int, steps: int
) -> Callable[..., Trial]:
    """``run(params, state, examples, key, rate=None) -> Trial``, compiled once for all rates.

    The steps are those of `train.step`, but for one thing: a step that is not finite is made, so that
    what comes of it is seen.
    """
    gradient = value_and_grad(net, loss)

    @jax.jit
    def scan(
        params: PyTree, state: PyTree, memory: PyTree, examples: Batch, key: Array
    ) -> tuple[tuple[PyTree, PyTree, PyTree], tuple[Array, ...]]:
        count = example_count(examples)

        def body(
            carry: tuple[PyTree, PyTree, PyTree], step: Array
        ) -> tuple[tuple[PyTree, PyTree, PyTree], tuple[Array, ...]]:
            params, state, memory = carry
            batch = take(examples, batch_indices(key, step, count, batch_size))
            x, target, weights = unpacked(batch)
            draw = jax.random.fold_in(key, step)
            (value, auxiliary), grads = gradient(params, state, x, target, draw, weights)
            updates, memory = optimizer.update(grads, memory, params)
            after = apply_updates(params, updates)
            moved = jax.tree.map(jnp.subtract, after, params)
            told = (value, *(_norms(tree) for tree in (moved, params, grads)))
            return (after, auxiliary.state, memory), told

        return jax.lax.scan(body, (params, state, memory), jnp.arange(steps, dtype=jnp.int32))

    def run(
        params: PyTree, state: PyTree, examples: Batch, key: Array, rate: float | None = None
    ) -> Trial:
        memory = optimizer.init(params)
        if rate is not None:
            memory = with_hyperparameters(memory, rate=rate)
        (params, state, _), told = scan(params, state, memory, examples, key)
        names = tuple(path for path, _ in paths(params))
        losses, moved, sizes, pushed = (np.asarray(each, np.float64) for each in told)
        return Trial(names, losses, moved, sizes, pushed, params, state)

    return run


def _norms(tree: PyTree) -> Array:
    leaves = [
        jnp.linalg.norm(leaf.astype(jnp.float32).reshape(-1)) for leaf in jax.tree.leaves(tree)
    ]
    return jnp.stack(leaves) if leaves else jnp.zeros(0, jnp.float32)
