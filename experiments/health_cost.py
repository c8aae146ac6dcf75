"""What a look at a network's health costs, on the convnet, in training steps.

    python -m experiments.health_cost [--seconds 20] [--every 100]

The convnet of W2 (see `experiments.workloads`), batch 128, Adam. A look is `health` on the step's own
batch: all 128 examples, or a subset of them. Times are in turn, of one step and of one look; the ratio is
look / step, median and quartiles over rounds, and overhead is what a look every 100 steps adds to
training. Target: 3 %. Off, it costs nothing: a step is the same program whether or not a look is
compiled. Two cores of a 2.5 GHz Xeon, jax 0.10.2, two minutes: 0.2 % with 16 examples, 0.5 % with 32,
2.0 % with all 128.
"""

import argparse
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import numpy as np

from experiments.timing import in_turn, ratio
from experiments.workloads import LOSS, fake_images
from fnn import models, optimizers, train
from fnn.diagnostics.health import health

BATCH = 128


def main() -> None:
    """Print a row for each size of subset, and whether the step's program changes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=20, help="timing, for all rows together")
    parser.add_argument("--every", type=int, default=100, help="steps from one look to the next")
    parser.add_argument("--subsets", type=int, nargs="+", default=[16, 32, BATCH])
    arguments = parser.parse_args()
    x, labels = fake_images(np.random.default_rng(0), (BATCH, 28, 28, 1))
    net, optimizer = models.convnet(10), optimizers.adam(1e-3)
    step = train.step(net, LOSS, optimizer)
    train_state = train.init(net, optimizer, jax.random.key(0), x)
    plain = jax.jit(train.step_function(net, LOSS, optimizer))
    before = plain.lower(train_state, (x, labels)).as_text()
    params, state = jax.tree.map(np.asarray, (train_state.params, train_state.state))

    def one_step() -> train.Info:
        nonlocal train_state
        train_state, info = step(train_state, (x, labels))
        return info

    functions: dict[str, Callable[[], Any]] = {"step": one_step}
    for subset in arguments.subsets:
        start = time.perf_counter()
        look = partial(health(net, LOSS, subset=subset), params, state, x, labels)
        jax.block_until_ready(look())
        print(f"look at {subset:3} compiles in {time.perf_counter() - start:5.1f} s", flush=True)
        functions[f"look at {subset}"] = look
    taken = in_turn(functions, seconds=arguments.seconds)
    print(f"jax {jax.__version__}; step {np.median(taken['step']) * 1e3:.1f} ms; look / step")
    for name in list(functions)[1:]:
        found = ratio(taken[name], taken["step"])
        print(
            f"{name:12} {found}   overhead every {arguments.every}: {found.median / arguments.every:.1%}"
        )
    fresh = jax.jit(train.step_function(net, LOSS, optimizer))
    after = fresh.lower(train_state, (x, labels)).as_text()
    print(f"the step's program is the same with and without: {before == after}")


if __name__ == "__main__":
    main()
