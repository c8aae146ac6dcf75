"""The networks that the experiments train, with the settings that suit them, and their saved form."""

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal, NamedTuple

import jax
import numpy as np

from fnn.data import Centre
from fnn.layer import Layer, PyTree
from fnn.models import convnet, mlp
from fnn.train import Weights, load_weights, read_metadata, save_weights

Model = Literal["mlp", "convnet"]


class Recipe(NamedTuple):
    """How a model is built and trained unless the command line says otherwise."""

    build: Callable[[int], Layer]  # from the number of classes
    epochs: int
    rate: float  # the peak of Adam's


RECIPES: dict[Model, Recipe] = {
    "mlp": Recipe(lambda classes: mlp((512, 512), classes, dropout_rate=0.3), 12, 1e-3),
    "convnet": Recipe(lambda classes: convnet(classes, dropout_rate=0.5), 6, 4e-3),
}


class Classifier(NamedTuple):
    """A network with all that turns images in [0, 1] into classes."""

    model: Model
    dataset: str  # what it learned
    classes: tuple[str, ...]
    centre: Centre  # subtracted from every image
    params: PyTree
    state: PyTree

    @property
    def net(self) -> Layer:
        """The network that the parameters are for."""
        return RECIPES[self.model].build(len(self.classes))

    def probabilities(self, images: np.ndarray) -> np.ndarray:
        """(N, C) for images (N, H, W, 1) in [0, 1]."""
        x = self.centre.apply(images)
        logits = jax.jit(self.net.predict)(self.params, self.state, x)
        return np.asarray(jax.nn.softmax(logits))


def save(path: str | os.PathLike[str], classifier: Classifier) -> None:
    """Write a classifier as one safetensors file, with all that `load` needs to build it again."""
    metadata = {
        "model": classifier.model,
        "dataset": classifier.dataset,
        "classes": json.dumps(classifier.classes, ensure_ascii=False),
        "input_shape": json.dumps(classifier.centre.mean.shape),
    }
    constants = {"mean": classifier.centre.mean}
    save_weights(path, classifier.params, classifier.state, metadata, constants=constants)


def load(path: str | os.PathLike[str]) -> Classifier:
    """The classifier that `save` wrote.

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: the file is damaged, or `save` did not write it.
    """
    model, dataset, classes, shape = _described(path, read_metadata(path))
    net = RECIPES[model].build(len(classes))
    example = jax.ShapeDtypeStruct((1, *shape), np.float32)
    params, state = jax.eval_shape(net.init, jax.random.key(0), example)
    constants = {"mean": jax.ShapeDtypeStruct(shape, np.float32)}
    weights: Weights = load_weights(path, params, state, constants=constants)
    centre = Centre(np.asarray(weights.constants["mean"]))
    return Classifier(model, dataset, classes, centre, weights.params, weights.state)


def _described(
    path: str | os.PathLike[str], metadata: Mapping[str, str]
) -> tuple[Model, str, tuple[str, ...], tuple[int, ...]]:
    """(model, data set, classes, input's shape), as `save` writes them: a file is from outside."""
    try:
        model, dataset = metadata["model"], metadata["dataset"]
        classes, shape = json.loads(metadata["classes"]), json.loads(metadata["input_shape"])
        ours = (
            model in RECIPES
            and isinstance(classes, list)
            and len(classes) > 0
            and all(type(name) is str for name in classes)
            and isinstance(shape, list)
            and len(shape) == 3
            and all(type(size) is int and size > 0 for size in shape)
        )
    except (KeyError, ValueError):
        ours = False
    if not ours:
        raise ValueError(
            f"{path}: expected a file that experiments.mnist wrote, for one of {list(RECIPES)}, "
            f"got the metadata {metadata}"
        )
    return "mlp" if model == "mlp" else "convnet", dataset, tuple(classes), tuple(shape)


def weights_file(run: Path) -> Path:
    """Where a run keeps its weights."""
    return run / "weights.safetensors"
