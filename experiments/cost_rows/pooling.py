"""Pooling: the opponent is the autodiff of what peers run."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from experiments.cost_rows.row import CostRow
from fnn import layers
from fnn.layer import PyTree

Plain = Callable[[PyTree, PyTree], PyTree]
Sizes = tuple[int, ...]


def _maximum(window: Sizes, stride: Sizes, padding: str = "VALID") -> Plain:
    """`lax.reduce_window`, as the libraries of JAX have it."""

    def run(params: PyTree, x: jax.Array) -> jax.Array:
        del params
        sizes = (1, *window, 1), (1, *stride, 1)
        return jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, *sizes, padding)

    return run


def _sums(window: Sizes, stride: Sizes, padding: str = "VALID") -> Plain:
    def run(params: PyTree, x: jax.Array) -> jax.Array:
        del params
        zero, sizes = np.zeros((), x.dtype), ((1, *window, 1), (1, *stride, 1))
        return jax.lax.reduce_window(x, zero, jax.lax.add, *sizes, padding)

    return run


def _average(window: Sizes, stride: Sizes, padding: str = "VALID") -> Plain:
    """A sum by `lax.reduce_window` over the same of ones."""

    def run(params: PyTree, x: jax.Array) -> jax.Array:
        del params
        add_up = _sums(window, stride, padding)
        sums, counts = add_up((), x), add_up((), jnp.ones((1, *x.shape[1:-1], 1), x.dtype))
        return sums / jnp.broadcast_to(counts, sums.shape)

    return run


def _global_average(params: PyTree, x: jax.Array) -> jax.Array:
    del params
    return x.mean(axis=(1, 2))


def _global_maximum(params: PyTree, x: jax.Array) -> jax.Array:
    del params
    return x.max(axis=(1, 2))


def _adaptive(reduce: Callable[..., jax.Array], outputs: int) -> Plain:
    """Region by region, as JAX's own users write PyTorch's rule."""

    def on_axis(x: jax.Array, axis: int) -> jax.Array:
        n = x.shape[axis]
        regions = [(o * n // outputs, -(-(o + 1) * n // outputs)) for o in range(outputs)]
        of_each = [
            reduce(jax.lax.slice_in_dim(x, *region, axis=axis), axis=axis) for region in regions
        ]
        return jnp.stack(of_each, axis=axis)

    def run(params: PyTree, x: jax.Array) -> jax.Array:
        del params
        return on_axis(on_axis(x, 1), 2)

    return run


def _pseudorandom(key: jax.Array, end: int, outputs: int) -> jax.Array:
    drawn = jax.random.randint(key, (), 0, outputs, jnp.int32)
    return (end * jnp.arange(outputs + 1, dtype=jnp.int32) + drawn) // outputs


def _random(key: jax.Array, end: int, outputs: int) -> jax.Array:
    step, longer = divmod(end, outputs)
    steps = jax.random.permutation(
        key, jnp.asarray([step + 1] * longer + [step] * (outputs - longer))
    )
    return jnp.concatenate([jnp.zeros(1, jnp.int32), jnp.cumsum(steps, dtype=jnp.int32)])


def _fractional(borders: Callable[[jax.Array, int, int], jax.Array]) -> Plain:
    """The pixels of each region gathered, a short one's last pixel twice, and their maximum."""

    def on_axis(x: jax.Array, axis: int) -> jax.Array:
        n = x.shape[axis]
        outputs = int(n / 2**0.5)
        a = borders(jax.random.fold_in(jax.random.key(0), axis - 1), n - 1, outputs)
        longest = -(-(n - 1) // outputs) + 1
        pixels = jnp.minimum(a[:-1, None] + jnp.arange(longest), a[1:, None])
        return jnp.take(x, pixels, axis=axis).max(axis=axis + 1)

    def run(params: PyTree, x: jax.Array) -> jax.Array:
        del params
        return on_axis(on_axis(x, 1), 2)

    return run


REAL, SMALL = (128, 28, 28, 32), (4, 8, 8, 4)

ROWS = {
    "max_pool 2x2": CostRow(layers.max_pool(2), REAL, SMALL, _maximum((2, 2), (2, 2))),
    "max_pool 2x2 (own forward)": CostRow(layers.max_pool(2), REAL, SMALL),
    "max_pool 3x3 stride 2": CostRow(
        layers.max_pool(3, stride=2, padding="SAME"),
        REAL,
        SMALL,
        _maximum((3, 3), (2, 2), "SAME"),
    ),
    "max_pool 20x20": CostRow(
        layers.max_pool(20), (32, 40, 40, 32), (2, 40, 20, 3), _maximum((20, 20), (20, 20))
    ),
    "max_pool 2 of signals": CostRow(
        layers.max_pool(2), (128, 784, 32), (4, 64, 4), _maximum((2,), (2,))
    ),
    "max_pool 2x2x2": CostRow(
        layers.max_pool(2), (16, 16, 28, 28, 16), (2, 4, 4, 4, 4), _maximum((2,) * 3, (2,) * 3)
    ),
    "average_pool 2x2": CostRow(layers.average_pool(2), REAL, SMALL, _average((2, 2), (2, 2))),
    "average_pool 3x3 stride 2": CostRow(
        layers.average_pool(3, stride=2, padding="SAME"),
        REAL,
        SMALL,
        _average((3, 3), (2, 2), "SAME"),
    ),
    "sum_pool 7x7 stride 1": CostRow(
        layers.sum_pool(7, stride=1), (32, 28, 28, 32), SMALL, _sums((7, 7), (1, 1))
    ),
    "global_average_pool": CostRow(layers.global_average_pool(), REAL, SMALL, _global_average),
    "global_max_pool": CostRow(layers.global_max_pool(), REAL, SMALL, _global_maximum),
    "adaptive_average_pool 5": CostRow(
        layers.adaptive_average_pool(5), (32, 28, 28, 32), SMALL, _adaptive(jnp.mean, 5)
    ),
    "adaptive_max_pool 5": CostRow(
        layers.adaptive_max_pool(5), (32, 28, 28, 32), SMALL, _adaptive(jnp.max, 5)
    ),
    "fractional_max_pool": CostRow(
        layers.fractional_max_pool(2**0.5), (32, 28, 28, 32), SMALL, _fractional(_pseudorandom)
    ),
    "fractional_max_pool, random": CostRow(
        layers.fractional_max_pool(2**0.5, regions="random"),
        (32, 28, 28, 32),
        SMALL,
        _fractional(_random),
    ),
}
