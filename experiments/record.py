"""What a training run leaves behind: a line of JSON a call, and the curves for the pictures."""

import json
import math
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TextIO

import numpy as np

from fnn.diagnostics.plots import Course
from fnn.train import Report


class Record:
    """The history of a run, written to `path` while it grows; a context manager.

    The file is made with the first line, and flushed after every one, so that a run that is stopped has
    a whole log.
    """

    def __init__(self, path: Path, batch_size: int) -> None:
        self._path = path
        self._file: TextIO | None = None
        self._batch_size = batch_size
        self._training: list[Course] = []
        self._held_out: list[tuple[float, float, float]] = []
        self._calls: list[tuple[int, float]] = []  # images and seconds of each
        self.last: Report | None = None
        self.largest_distance: float | None = None  # between two derivations, if both are made

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._file is not None:
            self._file.close()

    def add(self, report: Report) -> None:
        """Keep one report, and write its line."""
        info = report.info
        count = len(info.loss)
        per_epoch = report.steps / report.epochs
        epochs = np.arange(report.steps - count + 1, report.steps + 1) / per_epoch
        self._training.append(
            Course(epochs, np.asarray(info.loss), np.asarray(info.metrics["accuracy"]))
        )
        self._calls.append((count * self._batch_size, report.seconds))
        self.last = report
        line: dict[str, Any] = {
            "step": report.steps,
            "epoch": round(report.epochs, 4),
            "loss": float(info.loss.mean()),
            "accuracy": float(info.metrics["accuracy"].mean()),
            "gradient_norm": float(info.gradient_norm.mean()),
            "seconds": round(report.seconds, 4),
        }
        if info.distance is not None:
            distance = float(info.distance.max())
            # A NaN is the largest of all, which Python's max does not say.
            self.largest_distance = float(np.maximum(distance, self.largest_distance or 0.0))
            line["gradient_distance"] = distance
        if report.evaluation is not None:
            loss = float(report.evaluation.loss)
            accuracy = float(report.evaluation.metrics["accuracy"])
            self._held_out.append((math.floor(report.epochs), loss, accuracy))
            line |= {"test_loss": loss, "test_accuracy": accuracy}
        if self._file is None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self._path.open("w", encoding="utf-8")
        self._file.write(json.dumps(line) + "\n")
        self._file.flush()

    @property
    def now(self) -> str:
        """The last call in a few words."""
        course, speed = self._training[-1], self.images_per_second
        words = f"loss {course.loss.mean():.4f}  accuracy {course.accuracy.mean():.1%}"
        return words if speed is None else f"{words}  {speed:,.0f} images/s"

    @property
    def epoch(self) -> str:
        """The last whole epoch in a few words."""
        (end, loss, accuracy), course = self._held_out[-1], self.training
        steps = (course.epochs > end - 1) & (course.epochs <= end)
        return (
            f"loss {course.loss[steps].mean():.4f}  accuracy {course.accuracy[steps].mean():6.2%}   "
            f"test loss {loss:.4f}  accuracy {accuracy:6.2%}"
        )

    @property
    def training(self) -> Course:
        """One entry a step."""
        return Course(*(np.concatenate(parts) for parts in zip(*self._training, strict=True)))

    @property
    def held_out(self) -> Course:
        """One entry an epoch."""
        table = np.array(self._held_out).reshape(-1, 3)
        return Course(table[:, 0], table[:, 1], table[:, 2])

    @property
    def images_per_second(self) -> float | None:
        """Over all calls but the first, which compiles; None if there is no other."""
        if len(self._calls) < 2:
            return None
        images, seconds = zip(*self._calls[1:], strict=True)
        return sum(images) / sum(seconds)

    @property
    def first_call(self) -> float:
        """The seconds that the first call took, compilation included."""
        return self._calls[0][1]
