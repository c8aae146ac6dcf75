"""What a run leaves: its settings, its numbers, its pictures, and the words for the terminal."""

import json
import os
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

import fnn
from experiments.folder import EVENTS, LOG, PAGE, PICTURES, clear
from experiments.networks import Classifier, weights_file
from experiments.record import Record
from experiments.run_page import RunPage
from fnn.data import Dataset
from fnn.diagnostics import first_layer_filters, plots, report
from fnn.tables import table
from fnn.train import Evaluation, confusion_matrix


def begin(out: Path, settings: Mapping[str, Any], resumed: bool = False) -> None:
    """Write the settings, and take away what an earlier run left there but for its weights.

    For a run that has learned something: until then, what an earlier one left is worth more. The log and
    the checkpoints of a run that is resumed stay.
    """
    out.mkdir(parents=True, exist_ok=True)
    clear(out, resumed=resumed)
    versions = {"fnn": fnn.__version__, "jax": jax.__version__, "python": platform.python_version()}
    device = jax.devices()[0]
    machine = {"device": device.device_kind, "devices": jax.device_count(), "cores": os.cpu_count()}
    write_json(out / "config.json", {**settings, "versions": versions, "machine": machine})


def end(
    out: Path, record: Record, steps: int, seconds: float, accuracy: float | None
) -> dict[str, Any]:
    """Write the numbers that the run ended with, after so many good steps; tested, if it is finished."""
    result: dict[str, Any] = {
        "finished": accuracy is not None,
        "steps": steps,
        "training_seconds": record.seconds + seconds,
        "images_per_second": record.images_per_second,
        "test_accuracy": accuracy,
        "largest_gradient_distance": record.largest_distance,
    }
    write_json(out / "result.json", result)
    return result


def speed(record: Record, seconds: float) -> str:
    """How long the training took, and how far the two derivations were apart if both were made."""
    text = (
        f"{seconds:.1f} s of training, {record.first_call:.1f} s of them the first call with its "
        "compilation"
    )
    if record.seconds:
        text = f"after {record.seconds:.1f} s before: {text}"
    if record.images_per_second is not None:
        text += f"; {record.images_per_second:,.0f} images/s after it"
    if record.largest_distance is not None:
        text += (
            f"\nlargest relative distance between the gradients by hand and by jax.grad, over all "
            f"steps and parameters: {record.largest_distance:.1e}"
        )
    return text


def draw_training(out: Path, record: Record, classifier: Classifier, page: RunPage) -> None:
    """The curves, which the page draws by itself, and the first layer's filters."""
    plots.save(plots.curves(record.training, record.held_out), out / "curves.png")
    shape = classifier.centre.mean.shape
    images = first_layer_filters(classifier.net, classifier.params, shape)
    title = f"first-layer filters of the {classifier.model}"
    figure = plots.filters(images, title)
    plots.save(figure, out / "filters.png")
    page.add(report.picture("Filters", figure, plots.filters_text(images)))


def tested(out: Path, evaluation: Evaluation, dataset: Dataset, page: RunPage) -> str:
    """Draw the mistakes and the confusions of the last evaluation; these in words, too."""
    images, target, classes = dataset.test.x[..., 0], dataset.test.y, dataset.classes
    probabilities = np.asarray(jax.nn.softmax(evaluation.prediction))
    counts = confusion_matrix(probabilities.argmax(axis=1), target, len(classes))
    said = target, probabilities, classes
    figure = plots.mistakes(images, *said)
    plots.save(figure, out / "mistakes.png")
    page.add(report.picture("Worst mistakes", figure, plots.mistakes_text(*said)))
    figure = plots.confusion(counts, classes)
    plots.save(figure, out / "confusion.png")
    page.add(report.picture("Confusion", figure, plots.confusion_text(counts, classes)))
    # Long names stand before the rows alone, and their numbers above the columns.
    long = max(map(len, classes)) > 3
    rows = [f"{i} {name}" if long else name for i, name in enumerate(classes)]
    head = [str(i) for i in range(len(classes))] if long else list(classes)
    lines = [
        [name, *(str(count) if count else "·" for count in row)]
        for name, row in zip(rows, counts, strict=True)
    ]
    right = int(np.trace(counts))
    return "\n".join(
        [
            f"test accuracy {right / len(target):.2%}: {right:,} of {len(target):,} images",
            "",
            *table(["true \\ predicted", *head], lines),
        ]
    )


def left(out: Path) -> str:
    """The files of the run, and what to do with them."""
    names = [PAGE, weights_file(out).name, LOG, "config.json", "result.json", *PICTURES, EVENTS]
    found = [name for name in names if (out / name).exists()]
    return f"{out}: {', '.join(found)}\nnext: python -m experiments.classify {out} --sample 5"


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Indented, with paths as text."""
    path.write_text(json.dumps(content, indent=2, default=str) + "\n", encoding="utf-8")
