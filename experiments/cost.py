"""What a hand-written backward costs: every layer and both networks against `jax.grad`, in turn.

    python -m experiments.cost [--seconds 2.5] [--only relu max_pool]

Each row runs forward and backward of one layer twice: with the hand-written backward, and with
`jax.vjp` of the same forward; outside of a loop and as the body of a `lax.scan`, which is what an epoch
is. Time is hand / autodiff, median [quartiles] over rounds; temp is what XLA allocates for a call;
cache is what forward hands to backward, the layer's own input included. Convolutions run on a batch
of 8 in the scan, where XLA:CPU takes autodiff's gradients 20 to 170 times slower than outside.
"""

import argparse
import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.timing import in_turn, ratio, temporary
from fnn import layers, losses, models
from fnn.gradient import auto_value_and_grad, value_and_grad
from fnn.layer import Layer

ROUNDS = 4  # steps of a scan


@dataclasses.dataclass(frozen=True)
class Row:
    """One layer at one shape."""

    layer: Layer
    shape: tuple[int, ...]
    batch_in_scan: int | None = None  # a smaller batch, where autodiff in a scan takes seconds


def convolution_row(shape: tuple[int, ...], *arguments: Any, **options: Any) -> Row:
    """A convolution, on a small batch in the scan."""
    return Row(layers.convolution(*arguments, **options), shape, 8)


ROWS = {
    "linear 784 -> 512": Row(layers.linear(512), (128, 784)),
    "sigmoid": Row(layers.sigmoid(), (32, 28, 28, 32)),
    "tanh": Row(layers.tanh(), (32, 28, 28, 32)),
    "relu": Row(layers.relu(), (32, 28, 28, 32)),
    "softmax": Row(layers.softmax(), (4096, 128)),
    "flatten": Row(layers.flatten(), (32, 28, 28, 32)),
    "batch_norm dense": Row(layers.batch_norm(), (128, 512)),
    "batch_norm images": Row(layers.batch_norm(), (32, 28, 28, 32)),
    "dropout": Row(layers.dropout(0.5), (128, 4096)),
    "max_pool 2x2": Row(layers.max_pool(2), (128, 28, 28, 32)),
    "max_pool 3x3 stride 2": Row(layers.max_pool(3, stride=2, padding="SAME"), (128, 28, 28, 32)),
    "convolution 3x3, 1 -> 32": convolution_row((128, 28, 28, 1), 32, 3),
    "convolution 3x3, 32 -> 32": convolution_row((128, 28, 28, 32), 32, 3),
    "convolution 3x3, 32 -> 64": convolution_row((128, 14, 14, 32), 64, 3),
    "convolution 3x3, 64 -> 64": convolution_row((128, 14, 14, 64), 64, 3),
    "convolution 3x3 stride 2": convolution_row((128, 28, 28, 32), 64, 3, stride=2),
    "convolution 3x3 dilated": convolution_row((128, 28, 28, 32), 32, 3, dilation=2),
    "convolution 1x1": convolution_row((128, 28, 28, 64), 64, 1),
    "convolution depthwise": convolution_row((128, 28, 28, 64), 64, 3, groups=64),
    "convolution 4 groups": convolution_row((128, 28, 28, 32), 32, 3, groups=4),
}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=2.5, help="timing, for each comparison")
    parser.add_argument("--only", nargs="+", default=[""], help="rows that begin with one of these")
    arguments = parser.parse_args()
    print(
        f"jax {jax.__version__} on {jax.devices()[0].device_kind}; time and temp: hand / autodiff"
    )
    print(f"{'':26}{'outside':>21}{'in a scan':>21}{'temp MB':>18}{'cache MB':>10}")
    for name, row in ROWS.items():
        if name.startswith(tuple(arguments.only)):
            layer_row(name, row, arguments.seconds)
    if "max_pool".startswith(tuple(arguments.only)) or "max_pool" in arguments.only:
        reduce_window_row(arguments.seconds)
    for name, net, shape, in_scan in (
        ("network W1", models.mlp((512, 512), 10), (128, 784), None),
        ("network W2", models.convnet(10), (128, 28, 28, 1), 8),
    ):
        if name.startswith(tuple(arguments.only)):
            network_row(name, net, shape, in_scan, arguments.seconds)


def layer_row(name: str, row: Row, seconds: float) -> None:
    """One layer: forward and backward for a given dy."""
    key = jax.random.key(0)

    def problem(batch: int | None) -> tuple[Any, ...]:
        x = images((batch or row.shape[0], *row.shape[1:]))
        params, state = row.layer.init(key, x)
        y = jax.eval_shape(row.layer.forward, params, state, x, key)[0]
        return params, state, x, images(y.shape)

    def hand(params: Any, state: Any, x: Any, dy: Any) -> Any:
        y, _, cache = row.layer.forward(params, state, x, key)
        return y, row.layer.backward(params, cache, dy)

    def auto(params: Any, state: Any, x: Any, dy: Any) -> Any:
        y, pull = jax.vjp(lambda p, x: row.layer.forward(p, state, x, key)[0], params, x)
        return y, pull(dy)

    params, state, x, _ = problem(None)
    cache = jax.eval_shape(row.layer.forward, params, state, x, key)[2]
    show(name, hand, auto, problem(None), problem(row.batch_in_scan), nbytes(cache), seconds)


def network_row(
    name: str, net: Layer, shape: tuple[int, ...], in_scan: int | None, seconds: float
) -> None:
    """A whole network: the gradient of its mean loss."""
    loss = losses.softmax_cross_entropy()

    def problem(batch: int | None) -> tuple[Any, ...]:
        x = images((batch or shape[0], *shape[1:]))
        labels = jnp.asarray(np.random.default_rng(0).integers(0, 10, x.shape[0]), jnp.int32)
        return (*net.init(jax.random.key(0), x), x, labels)

    def by(differentiate: Callable[..., Any]) -> Callable[..., Any]:
        gradient = differentiate(net, loss)

        def run(params: Any, state: Any, x: Any, labels: Any) -> Any:
            (value, _), dparams = gradient(params, state, x, labels)
            return value, (dparams, jnp.zeros_like(x))

        return run

    params, state, x, _ = problem(None)
    cache = jax.eval_shape(net.forward, params, state, x, None)[2]
    functions = by(value_and_grad), by(auto_value_and_grad)
    show(name, *functions, problem(None), problem(in_scan), nbytes(cache), seconds)


def reduce_window_row(seconds: float) -> None:
    """Max pooling against the autodiff of `lax.reduce_window`, which is what peers run."""
    pool, x, dy = layers.max_pool(2), images((128, 28, 28, 32)), images((128, 14, 14, 32))

    def hand(params: Any, state: Any, x: Any, dy: Any) -> Any:
        y, _, cache = pool.forward(params, state, x, None)
        return y, pool.backward(params, cache, dy)

    def auto(params: Any, state: Any, x: Any, dy: Any) -> Any:
        def windows(x: jax.Array) -> jax.Array:
            size = (1, 2, 2, 1)
            return jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, size, size, "VALID")

        y, pull = jax.vjp(windows, x)
        return y, (params, *pull(dy))

    arguments = ((), (), x, dy)
    cache = jax.eval_shape(pool.forward, (), (), x, None)[2]
    show("max_pool / reduce_window", hand, auto, arguments, arguments, nbytes(cache), seconds)


def show(
    name: str,
    hand: Callable[..., Any],
    auto: Callable[..., Any],
    outside: tuple[Any, ...],
    inside: tuple[Any, ...],
    cache: int,
    seconds: float,
) -> None:
    """Time both in turn, outside and inside a scan, and print the row."""
    compiled = {
        n: jax.jit(f).lower(*outside).compile() for n, f in (("hand", hand), ("auto", auto))
    }
    alone = in_turn({n: partial(f, *outside) for n, f in compiled.items()}, seconds=seconds)
    looped = {n: jax.jit(in_scan(f)) for n, f in (("hand", hand), ("auto", auto))}
    within = in_turn(
        {n: partial(f, *inside) for n, f in looped.items()}, seconds=seconds, least_rounds=3
    )
    temp = {n: temporary(c) / 1e6 for n, c in compiled.items()}
    print(
        f"{name:26}{ratio(alone['hand'], alone['auto'])!s:>21}"
        f"{ratio(within['hand'], within['auto'])!s:>21}"
        f"{temp['hand']:8.1f} /{temp['auto']:8.1f}{cache / 1e6:10.2f}",
        flush=True,
    )


def in_scan(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function as the body of a loop that really depends on its results."""

    def run(params: Any, state: Any, x: Any, dy: Any) -> Any:
        def body(carry: Any, _: None) -> tuple[Any, None]:
            params, x, _y = carry
            y, (dparams, dx) = function(params, state, x, dy)
            params = jax.tree.map(lambda p, d: p - 1e-20 * d, params, dparams)
            return (params, x - 1e-20 * dx, y), None

        first = jax.tree.map(jnp.zeros_like, jax.eval_shape(function, params, state, x, dy)[0])
        return jax.lax.scan(body, (params, x, first), None, length=ROUNDS)[0]

    return run


def images(shape: tuple[int, ...]) -> jax.Array:
    """Random numbers."""
    return jnp.asarray(np.random.default_rng(0).standard_normal(shape), jnp.float32)


def nbytes(tree: Any) -> int:
    """The bytes of a tree's arrays; a key has two words."""
    total = 0
    for leaf in jax.tree.leaves(tree):
        key = jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
        total += 8 if key else leaf.size * leaf.dtype.itemsize
    return total


if __name__ == "__main__":
    main()
