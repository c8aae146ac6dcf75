"""An epoch as one compiled call on data that lies on the device, against steps with batches of the host.

    python -m experiments.epoch_cost --rounds 15

Both make the same steps on the same batches, with SGD. The host's loop is what a script without fnn
writes: a jitted step with a donated state, called once for each batch, which NumPy slices from the
training set by the epoch's permutation; it waits for nothing until the epoch is over. The two take turns
in one process, so that a machine that is busy is so for both; the ratio is of two neighbours.

Two cores of a CPU under a load of 20, jax 0.10.2, 9 rounds, by steps / one call (quartiles): MLP
784-128-10 at batches of 128, 0.78 (0.65 to 0.83); MLP 784-32-10 at 32, 1.55 (1.50 to 2.19); convnet,
1.00 (0.78 to 1.19). In the first, XLA:CPU's gather of a batch costs more than NumPy's.
"""

import argparse
import time
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from fnn import losses, models, optimizers, train
from fnn.batch import steps_per_epoch
from fnn.layer import Layer
from fnn.train.batches import batch_indices

LOSS = losses.softmax_cross_entropy()


class Workload(NamedTuple):
    """A network and how much it is given."""

    name: str
    net: Layer
    shape: tuple[int, ...]
    examples: int
    batch_size: int


WORKLOADS = (
    Workload("MLP 784-128-10", models.mlp((128,), classes=10), (784,), 12_800, 128),
    Workload("MLP 784-32-10", models.mlp((32,), classes=10), (784,), 12_800, 32),
    Workload(
        "convnet 28×28×1", models.convnet(10, channels=(8, 16), features=32), (28, 28, 1), 1_280, 64
    ),
)


def contestants(work: Workload) -> tuple[Callable[[], object], Callable[[], object]]:
    """(one call, step by step): each makes one epoch and returns when it is over."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(work.examples, *work.shape)).astype(np.float32)
    labels = rng.integers(0, 10, work.examples).astype(np.int32)
    optimizer = optimizers.sgd(0.01)
    start = train.init(work.net, optimizer, jax.random.key(0), x[: work.batch_size])
    whole = train.epoch(work.net, LOSS, optimizer, batch_size=work.batch_size)
    step = train.step(work.net, LOSS, optimizer)
    steps = steps_per_epoch(work.examples, work.batch_size)
    order = np.concatenate(
        [
            np.asarray(batch_indices(start.key, jnp.int32(i), work.examples, work.batch_size))
            for i in range(steps)
        ]
    )
    on_device = jnp.asarray(x), jnp.asarray(labels)

    def one_call() -> object:
        return jax.block_until_ready(whole(train.copy(start), on_device))

    def step_by_step() -> object:
        state = train.copy(start)
        for i in range(steps):
            own = order[i * work.batch_size : (i + 1) * work.batch_size]
            state, _ = step(state, (x[own], labels[own]))
        return jax.block_until_ready(state)

    return one_call, step_by_step


def seconds(run: Callable[[], object]) -> float:
    """How long it takes."""
    begin = time.perf_counter()
    run()
    return time.perf_counter() - begin


def main() -> None:
    """Print a line for each workload."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15, help="epochs of each, in turn")
    rounds = parser.parse_args().rounds
    print(f"{jax.default_backend()}, jax {jax.__version__}, {rounds} rounds in turn")
    print(f"{'':18} {'one call':>10} {'by steps':>10}   by steps / one call (quartiles)")
    for work in WORKLOADS:
        one_call, step_by_step = contestants(work)
        seconds(one_call), seconds(step_by_step)  # compiles
        times = np.asarray([(seconds(one_call), seconds(step_by_step)) for _ in range(rounds)])
        low, middle, high = np.percentile(times[:, 1] / times[:, 0], [25, 50, 75])
        one, many = np.median(times, axis=0)
        print(
            f"{work.name:18} {one * 1e3:7.1f} ms {many * 1e3:7.1f} ms   "
            f"{middle:.2f} ({low:.2f} to {high:.2f})",
            flush=True,
        )


if __name__ == "__main__":
    main()
