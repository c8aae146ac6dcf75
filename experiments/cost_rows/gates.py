"""Gates, against autodiff of the line of `jax.numpy` that they stand for."""

import jax
import jax.numpy as jnp
import numpy as np

from experiments.cost_rows.row import CostRow, Drawn
from fnn import layers
from fnn.compose import conditional
from fnn.layer import PyTree

GROUPS = (4096, 128)
SMALL = (32, 16)
MEMORY_BOUND = "one pass over memory either way"


def arrays(count: int, shape: tuple[int, ...]) -> Drawn:
    """A tuple of normal numbers."""
    return lambda rng: tuple(rng.standard_normal(shape, np.float32) for _ in range(count))


def selected(shape: tuple[int, ...]) -> Drawn:
    """A one-hot selector and numbers."""
    return lambda rng: (
        np.eye(shape[-1], dtype=np.bool_)[rng.integers(0, shape[-1], shape[:-1])],
        rng.standard_normal(shape, np.float32),
    )


def numbered(shape: tuple[int, ...]) -> Drawn:
    """The number of a branch and its input."""
    return lambda rng: (np.asarray(1, np.int32), rng.standard_normal(shape, np.float32))


def product(params: PyTree, x: tuple[jax.Array, ...]) -> jax.Array:
    """From left to right."""
    del params  # there are none
    y = x[0]
    for factor in x[1:]:
        y = y * factor
    return y


ROWS: dict[str, CostRow] = {
    "add": CostRow(
        layers.add(),
        arrays(3, GROUPS),
        arrays(3, SMALL),
        lambda _, x: x[0] + x[1] + x[2],
        reason=MEMORY_BOUND,
    ),
    "multiply": CostRow(
        layers.multiply(), arrays(2, GROUPS), arrays(2, SMALL), product, reason=MEMORY_BOUND
    ),
    "multiply four": CostRow(
        layers.multiply(), arrays(4, GROUPS), arrays(4, SMALL), product, reason=MEMORY_BOUND
    ),
    "sum_over": CostRow(
        layers.sum_over(), GROUPS, SMALL, lambda _, x: x.sum(axis=-1), reason=MEMORY_BOUND
    ),
    "max_over": CostRow(layers.max_over(), GROUPS, SMALL, lambda _, x: x.max(axis=-1)),
    "max_over split": CostRow(
        layers.max_over(ties="split"), GROUPS, SMALL, lambda _, x: x.max(axis=-1)
    ),
    "switch": CostRow(
        layers.switch(),
        selected(GROUPS),
        selected(SMALL),
        lambda _, x: jnp.where(x[0], x[1], 0),
        reason=MEMORY_BOUND,
    ),
    "conditional": CostRow(
        conditional(layers.linear(512), b=layers.linear(512)),
        numbered((256, 512)),
        numbered(SMALL),
        lambda params, x: jax.lax.switch(
            x[0], [lambda x, p=params[n]: x @ p.w + p.b for n in ("linear_1", "b")], x[1]
        ),
    ),
}
