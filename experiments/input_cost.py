"""What data cost a training step: with data that come, against the same batch again and again.

    python -m experiments.input_cost [--only mlp convnet] [--seconds 30] [--steps 100 30]

The MLP 784-512-512-10 and the convnet of `experiments.workloads`, Adam, batch 128, 16,384 images of
28 × 28 in float32. Each call makes so many steps. "device": one compiled call that gathers shuffled
batches from data on the device, against one that scans over a single batch. "pipeline": one call a step,
with batches of `fnn.data.pipeline` (two threads, four batches ahead) from memory, from files mapped to
memory, and example by example with a transform, against one call a step on a single batch. At most four
batches of a call were ready before it. Ratios are with data / without, round by round, median
[quartiles]; the goal is 1.05.
"""

import argparse
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np

from experiments.timing import in_turn, ratio
from fnn import data, losses, models, optimizers, train
from fnn.layer import Layer

BATCH = 128
COUNT = 1 << 14
NETWORKS: dict[str, tuple[Callable[[], Layer], tuple[int, ...]]] = {
    "mlp": (lambda: models.mlp((512, 512), 10), (784,)),
    "convnet": (lambda: models.convnet(10), (28, 28, 1)),
}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", default=list(NETWORKS), choices=list(NETWORKS))
    parser.add_argument("--seconds", type=float, default=30, help="timing, for each network")
    parser.add_argument(
        "--steps", type=int, nargs=2, default=(100, 30), help="steps a call: MLP and convnet"
    )
    arguments = parser.parse_args()
    print(f"jax {jax.__version__} on {jax.devices()[0].device_kind}; ratio: median [quartiles]")
    for name, steps in zip(NETWORKS, arguments.steps, strict=True):
        if name in arguments.only:
            compare(name, steps, arguments.seconds)


def compare(name: str, steps: int, seconds: float) -> None:
    """One network: all ways to its data, in turn."""
    network, shape = NETWORKS[name]
    rng = np.random.default_rng(0)
    examples = (
        rng.standard_normal((COUNT, *shape), np.float32),
        rng.integers(0, 10, COUNT).astype(np.int32),
    )
    run = Run(network(), examples, steps)
    with tempfile.TemporaryDirectory() as folder:
        pipelines = {
            "pipeline, memory": data.pipeline(examples),
            "pipeline, files": data.pipeline(mapped(examples, Path(folder))),
            "pipeline, one by one": data.pipeline(examples, transform=lambda example: example),
        }
        functions = {"one call, same batch": run.scanned(), "one call, device": run.epoch()}
        functions["step, same batch"] = run.stepped(iter(lambda: run.batch, None))
        iterators: dict[str, Any] = {
            name: pipeline.batches(run.start.key, 0, BATCH) for name, pipeline in pipelines.items()
        }
        functions |= {name: run.stepped(batches) for name, batches in iterators.items()}
        taken = in_turn(functions, seconds=seconds)
        for batches in iterators.values():
            batches.close()
    for way, times in taken.items():
        without = "one call, same batch" if way.startswith("one call") else "step, same batch"
        print(
            f"{name:8} {way:22} {np.median(times) / steps * 1e3:8.3f} ms a step"
            + ("" if way == without else f", {ratio(times, taken[without])}"),
            flush=True,
        )


def mapped(examples: tuple[np.ndarray, ...], folder: Path) -> tuple[np.ndarray, ...]:
    """The same examples in files."""
    for i, array in enumerate(examples):
        np.save(folder / f"{i}.npy", array)
    return tuple(np.load(folder / f"{i}.npy", mmap_mode="r") for i in range(len(examples)))


class Run:
    """A network in training, with several ways to make its steps."""

    def __init__(self, net: Layer, examples: tuple[np.ndarray, ...], steps: int) -> None:
        self.parts = (net, losses.softmax_cross_entropy(), optimizers.adam(1e-3))
        self.examples = jax.tree.map(jax.numpy.asarray, examples)
        self.batch = jax.tree.map(lambda a: a[:BATCH], self.examples)
        self.start = train.init(net, self.parts[2], jax.random.key(0), self.batch[0])
        self.step = train.step(*self.parts)
        self.steps = steps

    def kept(self, call: Callable[[Any], tuple[Any, Any]]) -> Callable[[], Any]:
        """Go on from where the last call ended."""
        train_state = train.copy(self.start)

        def once() -> Any:
            nonlocal train_state
            train_state, info = call(train_state)
            return info.loss

        return once

    def scanned(self) -> Callable[[], Any]:
        """One compiled call, over one batch."""
        advance = train.step_function(*self.parts)

        def several(train_state: Any, batch: Any) -> Any:
            return jax.lax.scan(
                lambda state, _: advance(state, batch), train_state, None, length=self.steps
            )

        call = jax.jit(several, donate_argnums=0)
        return self.kept(lambda train_state: call(train_state, self.batch))

    def epoch(self) -> Callable[[], Any]:
        """One compiled call, over batches that it gathers."""
        call = train.epoch(*self.parts, batch_size=BATCH, steps=self.steps)
        return self.kept(lambda train_state: call(train_state, self.examples))

    def stepped(self, batches: Iterator[Any]) -> Callable[[], Any]:
        """One call a step."""

        def several(train_state: Any) -> Any:
            for _ in range(self.steps):
                train_state, info = self.step(train_state, next(batches))
            return train_state, info

        return self.kept(several)


if __name__ == "__main__":
    main()
