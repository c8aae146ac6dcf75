"""Train on a mesh of devices: the same command on one CPU, forced CPU devices, one GPU, or a pod.

    python -m experiments.sharded
    python -m experiments.sharded --devices 8 --mesh data=4,model=2 --network gpt --rules both
    python -m experiments.sharded --coordinator HOST:PORT --processes 2 --process 0 --mesh data=-1

It prints where every parameter lies, what the devices say to each other in a compiled step, and the
losses, which are those of one device up to rounding. The MLP and the convolutional network learn the
packaged digits, the GPT the characters of tiny Shakespeare below FNN_DATA_DIR or, without it, fnn's own
source. On several processes, all run this command, and the first prints; `--cluster` asks jax for a
cluster that it knows instead.
"""

# jax 0.10.2, two cores: `--devices 8 --mesh data=4,model=2 --network gpt --rules both --text README.md`
# has 441,088 of 3,297,280 bytes of parameters on each device; a step has 10 all-gathers of parameters, 11
# all-reduces and one permutation; the losses, 4.257507, 3.874779, 3.689987, …, are in all digits those of
# `--mesh data=1`.

import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import jax
import numpy as np

from experiments import gpt as language
from fnn import data, models, train
from fnn.extras import require
from fnn.layer import Layer
from fnn.losses import softmax_cross_entropy
from fnn.optimizers import adam
from fnn.train.devices.rules import Rules

DONE, MISUSED = 0, 2
Examples = tuple[np.ndarray, np.ndarray]


@dataclasses.dataclass(frozen=True)
class Config:
    """What the command line sets."""

    mesh: str = "data=-1"
    """Axes with their sizes, of data, fsdp and model, such as data=4,model=2; -1 fills up."""
    network: Literal["mlp", "convnet", "gpt"] = "mlp"
    rules: Literal["data", "full", "tensor", "both"] = "data"
    """Parameters: whole everywhere, split over data or fsdp, over model, or over both."""
    devices: int | None = None
    """Force so many CPU devices in this process."""
    steps: int = 100
    batch_size: int = 64
    rate: float = 1e-3
    seed: int = 0
    text: Path | None = None
    """A text for the GPT."""
    coordinator: str | None = None
    """HOST:PORT of the first of several processes."""
    processes: int | None = None
    process: int | None = None
    cluster: bool = False
    """Join the cluster that jax finds: a TPU pod, Slurm, Open MPI, Kubernetes."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; the exit code."""
    tyro = require("tyro", "experiments")
    config = tyro.cli(Config, args=argv, description=__doc__, prog="python -m experiments.sharded")
    try:
        begin(config)
        net, examples = subject(config)
        shardings = train.shardings(train.mesh(config.mesh), rules(config))
        optimizer = adam(config.rate)
        state = train.init(
            net, optimizer, jax.random.key(config.seed), examples[0][: config.batch_size]
        )
        state = shardings.place(state)
    except (ValueError, OSError, RuntimeError) as error:
        print(f"cannot begin: {error}", file=sys.stderr)
        return MISUSED
    loss = softmax_cross_entropy()
    step = jax.jit(train.step_function(net, loss, optimizer, shardings=shardings), donate_argnums=0)
    batch = shardings.replicate(tuple(a[: config.batch_size] for a in examples))
    program = step.lower(state, batch).compile()
    say(shardings.resolution(state))
    say("a step's collectives:")
    say(train.collectives_table(train.collectives(program.as_text() or "")))
    per_epoch = max(len(examples[0]) // config.batch_size, 1)
    reports = train.fit(
        net,
        loss,
        optimizer,
        state,
        examples,
        epochs=-(-config.steps // per_epoch),
        batch_size=config.batch_size,
        steps_per_call=max(config.steps // 5, 1),
        shardings=shardings,
    )
    for report in reports:
        say(f"step {report.steps:5}   loss {report.info.loss.mean():.6f}   {report.seconds:.2f} s")
        if report.steps >= config.steps:
            break
    return DONE


def begin(config: Config) -> None:
    """What has to be done before jax looks for devices.

    Raises:
      ValueError, RuntimeError: see `train.distributed.start`.
    """
    if config.devices is not None:
        jax.config.update("jax_platforms", "cpu")
        jax.config.update("jax_num_cpu_devices", config.devices)
    given = (config.coordinator, config.processes, config.process)
    if config.cluster or given != (None, None, None):
        print(train.distributed.start(*given), flush=True)


def subject(config: Config) -> tuple[Layer, Examples]:
    """The network and what it learns from."""
    if config.network == "gpt":
        text = language.numbered(language.read(language.Config(text=config.text)))
        net = models.gpt(len(text.characters), context=64)
        return net, language.windows(text.training, 64)
    digits = data.load("digits").train
    if config.network == "convnet":
        return models.convnet(10, channels=(16, 32), dropout_rate=0.2), (digits.x, digits.y)
    return models.mlp((256, 256), 10, dropout_rate=0.2), (digits.x, digits.y)


def rules(config: Config) -> Rules:
    """The path rules that were asked for.

    Raises:
      ValueError: there are none for this network.
    """
    tensor: Rules | None = None
    if config.rules in ("tensor", "both"):
        if config.network == "convnet":
            raise ValueError(
                "expected --rules data or full for the convnet, got a tensor-parallel one"
            )
        mlp = config.network == "mlp"
        tensor = train.tensor_parallel_mlp(2) if mlp else train.tensor_parallel_transformer()
    if config.rules in ("full", "both"):
        axis = "fsdp" if "fsdp" in config.mesh else "data"
        return train.fully_sharded(axis, base=tensor)
    return train.data_parallel() if tensor is None else tensor


def say(text: str) -> None:
    """Print, on the first of all processes."""
    if train.distributed.first_process():
        print(text, flush=True)


if __name__ == "__main__":
    sys.exit(main())
