"""Gates: layers of several inputs, and choices among them."""

import numpy as np

from fnn import chain, layers
from fnn.compose import conditional

from .rows import LayerRow


def arrays(rng: np.random.Generator, count: int = 3) -> tuple[np.ndarray, ...]:
    """Several arrays of one shape."""
    return tuple(rng.normal(size=(4, 3)).astype(np.float32) for _ in range(count))


def named(rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Two of them by name, as `parallel` returns them."""
    a, b = arrays(rng, 2)
    return {"a": a, "b": b}


def selected(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A one-hot selector and the values."""
    (values,) = arrays(rng, 1)
    return np.eye(3, dtype=np.int32)[rng.integers(0, 3, 4)], values


def numbered(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """The number of a branch and its input."""
    return np.asarray(1, np.int32), arrays(rng, 1)[0]


LAYERS: dict[str, LayerRow] = {
    "add": LayerRow(layers.add, arrays),
    "add, by name": LayerRow(layers.add, named),
    "multiply": LayerRow(layers.multiply, lambda rng: arrays(rng, 2)),
    "multiply three": LayerRow(layers.multiply, arrays),
    "sum_over": LayerRow(layers.sum_over, (4, 3)),
    "sum_over two axes": LayerRow(lambda: layers.sum_over((1, -1)), (2, 3, 2)),
    "max_over": LayerRow(layers.max_over, (4, 3)),
    "max_over an inner axis": LayerRow(lambda: layers.max_over(1), (2, 3, 2), refuses_no_time=True),
    "max_over, split": LayerRow(
        lambda: layers.max_over(ties="split"),
        (4, 3),
        hard={"nan": "autodiff finds no number equal to a maximum of NaN; by hand all share dy"},
    ),
    "switch": LayerRow(layers.switch, selected),
    "conditional": LayerRow(
        lambda: conditional(layers.linear(2), b=chain(layers.linear(2), layers.tanh())),
        numbered,
        batched=False,
    ),
}
