"""Classify images with the weights that `experiments.mnist` saved.

    python -m experiments.classify runs/mnist digit.png another.png
    python -m experiments.classify runs/mnist --sample 5

An image file must have the size that the network was trained on or, with --resize, its proportions. The
network knows bright strokes on a dark ground: an image with a bright border is taken for ink on paper
and inverted, unless --invert says otherwise, and the table shows what was done. With --sample, images
of the test set are classified.
"""

import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np

from experiments.networks import Classifier, load, weights_file
from experiments.pictures import Invert, read_picture
from experiments.plan import data_folder
from experiments.screen import Screen
from fnn import data
from fnn.extras import require
from fnn.tables import table

DONE, MISUSED = 0, 2
POSITIONAL: Any = require("tyro.conf", "experiments").Positional


@dataclasses.dataclass(frozen=True)
class Config:
    """What the command line sets."""

    run: Annotated[Path, POSITIONAL]
    """The folder of a run, or a weights file."""
    images: Annotated[tuple[Path, ...], POSITIONAL] = ()
    """Image files."""
    sample: int = 0
    """Classify so many images of the test set."""
    seed: int = 0
    """Of the choice of the sample."""
    invert: Invert = "auto"
    """Whether to exchange black and white in image files."""
    resize: bool = False
    """Scale image files to the size that the network knows."""
    data_dir: Path = dataclasses.field(default_factory=data_folder)
    """The folder of the folders mnist and fashion-mnist, for --sample; FNN_DATA_DIR sets its default."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; the exit code."""
    tyro = require("tyro", "experiments")
    config = tyro.cli(Config, args=argv, description=__doc__, prog="python -m experiments.classify")
    screen = Screen()
    try:
        file = weights_file(config.run) if config.run.is_dir() else config.run
        if not file.is_file():
            raise FileNotFoundError(
                f"no file {file}: expected the weights of a run; make one with: "
                f"python -m experiments.mnist"
            )
        classifier = load(file)
        lines = of_files(config, classifier) + of_sample(config, classifier)
        if not lines:
            raise ValueError("nothing to classify: name image files, or pass --sample 5")
    except (ValueError, OSError, ImportError) as error:
        screen.fail(str(error))
        return MISUSED
    screen.say(f"{file}: the {classifier.model}, trained on {classifier.dataset}\n")
    screen.say("\n".join(table(["image", "", "class", "probability", "then"], lines, left=3)))
    return DONE


def of_files(config: Config, classifier: Classifier) -> list[list[str]]:
    """A line for each image file.

    Raises:
      OSError, ValueError: a file cannot be read, or does not fit.
    """
    height, width, _ = classifier.centre.mean.shape
    pictures = [
        read_picture(path, (height, width), config.invert, config.resize) for path in config.images
    ]
    answers = answers_to(classifier, [picture.pixels for picture in pictures])
    return [
        [str(path), picture.done, *answer]
        for path, picture, answer in zip(config.images, pictures, answers, strict=True)
    ]


def of_sample(config: Config, classifier: Classifier) -> list[list[str]]:
    """A line for each of `config.sample` images of the test set, and whether it is right.

    Raises:
      OSError, ValueError, ImportError: the data cannot be had, or has not so many images.
    """
    if config.sample == 0:
        return []
    dataset = data.load(classifier.dataset, config.data_dir)
    images, labels = dataset.test
    if not 0 < config.sample <= len(labels):
        raise ValueError(f"expected --sample from 1 to {len(labels)}, got {config.sample}")
    chosen = np.random.default_rng(config.seed).choice(len(labels), config.sample, replace=False)
    lines = []
    for index, answer in zip(chosen, answers_to(classifier, list(images[chosen])), strict=True):
        true = classifier.classes[labels[index]]
        verdict = "right" if answer[0] == true else f"wrong, is {true}"
        lines.append([f"{dataset.name} test {index}", verdict, *answer])
    return lines


def answers_to(classifier: Classifier, images: list[np.ndarray]) -> list[list[str]]:
    """For each image: the class, how probable it is, and the next one with its probability."""
    if not images:
        return []
    answers = []
    for p in classifier.probabilities(np.stack(images)):
        first, second = np.argsort(-p, kind="stable")[:2]
        then = f"{classifier.classes[second]} {p[second]:.2%}"
        answers.append([classifier.classes[first], f"{p[first]:.2%}", then])
    return answers


if __name__ == "__main__":
    sys.exit(main())
