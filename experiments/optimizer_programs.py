"""The steps that `experiments.optimizer_cost` measures, and the parameters that they change."""

import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fnn import optimizers
from fnn.check.jaxprs import equations, trace
from fnn.layer import PyTree

REGION = "xla_cpu_copy_insertion_use_region_analysis"
Step = Callable[[PyTree, PyTree, PyTree], tuple[PyTree, PyTree]]


def step(optimizer: Any) -> Step:
    """Update and apply, for an optimizer of either library: the protocol is one."""

    def run(params: PyTree, state: PyTree, grads: PyTree) -> tuple[PyTree, PyTree]:
        updates, state = optimizer.update(grads, state, params)
        return optimizers.apply_updates(params, updates), state

    return run


class Program:
    """A compiled step that goes on from its own results, so that all of them can be donated."""

    def __init__(
        self, optimizer: Any, params: PyTree, grads: PyTree, *, by_region: bool = False
    ) -> None:
        """Trace, lower and compile, and note how many seconds that took."""
        # Copies, since a state may begin as the parameters themselves.
        self.carried = (copy(params), copy(optimizer.init(params)))
        self.grads = grads
        run = step(optimizer)
        start = time.perf_counter()
        lowered = jax.jit(run, donate_argnums=(0, 1)).lower(*self.carried, grads)
        self.compiled = lowered.compile(compiler_options={REGION: True} if by_region else None)
        self.seconds = time.perf_counter() - start
        self.equations = sum(1 for _ in equations(trace(run, *self.carried, grads)))

    @property
    def moved(self) -> int:
        """Bytes that a step must read and write at least: all that goes in, and all that comes out."""
        return sum(
            leaf.nbytes for leaf in jax.tree.leaves((self.carried, self.carried, self.grads))
        )

    def __call__(self) -> PyTree:
        self.carried = self.compiled(*self.carried, self.grads)
        return self.carried


def copy(tree: PyTree) -> PyTree:
    """The same numbers in memory of their own."""
    return jax.tree.map(lambda leaf: jnp.array(leaf, copy=True), tree)


def tree(size: str, seed: int) -> dict[str, jax.Array]:
    """The parameters, or gradients for them, at the size "real" or "small"."""
    rng = np.random.default_rng(seed)
    width, blocks, channels = (192, 20, (32, 64, 128, 64)) if size == "real" else (8, 1, (4,))
    wide = 4 * width
    shapes: list[tuple[int, ...]] = []
    for _ in range(blocks):
        shapes += [(width,)] * 4  # two norms
        shapes += [(width, 3 * width), (3 * width,), (width, width), (width,)]  # attention
        shapes += [(width, wide), (wide,), (wide, width), (width,)]  # two linear layers
    for c in channels:
        for _ in range(5 if size == "real" else 1):
            shapes += [(3, 3, c, c), (c,), (c,)]  # a convolution and its norm
    scale = 0.1 if seed == 0 else 0.01
    return {
        f"leaf_{i:03}": jnp.asarray(rng.normal(0, scale, shape), jnp.float32)
        for i, shape in enumerate(shapes)
    }
