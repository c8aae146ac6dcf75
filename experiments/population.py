"""A population of 64 small networks against 64 runs in sequence, timed in turn.

    python -m experiments.population [--members 64] [--epochs 2] [--seconds 60]

W5: 64 rates for the MLP 64-32-10 on scikit-learn's digits (1,437 examples), batch 32, 2 epochs, Adam.
Everything is compiled before the clock starts. In sequence, each run is either one compiled call
(`train.epoch` over all of its steps: what is left to win is what the machine has idle) or a loop over
`train.step` with batches from the host, as training loops are mostly written. `same batches` gathers
each batch once for all members. Ratios are sequence / population, median [quartiles]: larger is better.

jax 0.10.2, two cores of a CPU: 10.5 [9.8-11.0] against step by step, 14.4 with the same batches; 1.4
[1.4-1.5] against compiled epochs, 2.0 with the same batches. A compiled epoch of this network keeps a
core at its arithmetic already (17 µs a step), so there is little left to win without an accelerator.
Memory: 4.33 MB estimated, 4.11 MB by XLA's account.
"""

import argparse
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.timing import in_turn, ratio
from fnn import data, losses, models, optimizers, train
from fnn.batch import steps_per_epoch
from fnn.train import population
from fnn.train.batches import batch_indices

BATCH = 32


def main() -> None:
    """Print the ratios, and what the population's memory was estimated and found to be."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--members", type=int, default=64)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=60, help="timing, in all")
    arguments = parser.parse_args()
    count = arguments.members
    digits = data.load("digits").train
    x = digits.x.reshape(len(digits.x), -1).astype(np.float32)
    examples = jnp.asarray(x), jnp.asarray(digits.y)
    steps = arguments.epochs * steps_per_epoch(len(x), BATCH)
    net, loss, optimizer = models.mlp((32,), 10), losses.softmax_cross_entropy(), optimizers.adam()
    rates = {"rate": np.geomspace(1e-4, 1e-1, count)}
    keys = jax.random.split(jax.random.key(0), count)
    members = population.init(net, optimizer, keys, x[:BATCH], hyperparameters=rates)
    one_key = population.init(
        net, optimizer, keys, x[:BATCH], hyperparameters=rates, run_key=jax.random.key(1)
    )

    def together(members: train.TrainState, same_batches: bool) -> Callable[[], Any]:
        epoch = population.epoch(
            net,
            loss,
            optimizer,
            batch_size=BATCH,
            steps=steps,
            same_batches=same_batches,
            donate=False,
        )
        return lambda: epoch(members, examples)

    epoch = jax.jit(train.epoch(net, loss, optimizer, batch_size=BATCH, steps=steps))
    step = train.step(net, loss, optimizer)
    singles = [population.member(members, i) for i in range(count)]
    order = [
        np.asarray(batch_indices(singles[0].key, jnp.int32(t), len(x), BATCH)) for t in range(steps)
    ]

    def step_by_step() -> Any:
        ends = []
        for start in singles:
            state = train.copy(start)
            for indices in order:
                state, _info = step(state, (x[indices], digits.y[indices]))
            ends.append(jax.block_until_ready(state))
        return ends

    taken = in_turn(
        {
            "population": together(members, False),
            "population, same batches": together(one_key, True),
            "sequence of compiled epochs": lambda: [epoch(start, examples) for start in singles],
            "sequence, step by step": step_by_step,
        },
        seconds=arguments.seconds,
    )
    print(
        f"jax {jax.__version__} on {jax.devices()[0].device_kind}; {count} members, {steps} steps"
    )
    for name, seconds in taken.items():
        print(f"{name:30} {np.median(seconds):7.3f} s")
    for name in ("population", "population, same batches"):
        for sequence in ("sequence of compiled epochs", "sequence, step by step"):
            print(f"{sequence} / {name}: {ratio(taken[sequence], taken[name])}")
    estimate = population.memory_estimate(net, loss, optimizer, count, examples, batch_size=BATCH)
    program = population.epoch(net, loss, optimizer, batch_size=BATCH).lower(members, examples)
    memory = program.compile().memory_analysis()
    found = memory.argument_size_in_bytes + memory.temp_size_in_bytes
    found += memory.output_size_in_bytes - memory.alias_size_in_bytes
    print(f"memory: estimated {estimate}; XLA's figure is {found / 1e6:.3g} MB")


if __name__ == "__main__":
    main()
