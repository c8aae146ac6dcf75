"""What a training run leaves behind: a line of JSON a call, and the curves for the pictures."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TextIO

import numpy as np

from fnn.diagnostics.plots import Course
from fnn.train import Report


class Record:
    """The history of a run, written to `path` while it grows; a context manager.

    The file is made with the first line, and flushed after every one, so that a run that is stopped has
    a whole log. `resume` goes on with the one that is there.
    """

    def __init__(self, path: Path, batch_size: int) -> None:
        self._path = path
        self._file: TextIO | None = None
        self._batch_size = batch_size
        self._training: list[Course] = []
        self._held_out: list[tuple[float, float, float]] = []
        self._calls: list[tuple[int, float]] = []  # images and seconds of each
        self.last: Report | None = None
        self.earlier: list[Mapping[str, Any]] = []  # the lines of an earlier process
        self.seconds = 0.0  # of the calls that an earlier process made
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

    def resume(self, step: int, per_epoch: int) -> int:
        """Take over the lines up to this step, and drop the others; the step that they reach."""
        texts: list[str] = []
        reached = 0
        for text in (
            self._path.read_text(encoding="utf-8").splitlines() if self._path.exists() else ()
        ):
            try:
                line = json.loads(text)
            except ValueError:
                break  # cut off, where the machine stopped
            if line["step"] > step:
                break
            texts.append(text)
            self.earlier.append(line)
            reached = line["step"]
            losses, accuracies = (np.asarray(line[n], np.float32) for n in ("losses", "accuracies"))
            self._keep(line, losses, accuracies, per_epoch)
            self.seconds += line["seconds"]
        self._path.parent.mkdir(parents=True, exist_ok=True)
        part = self._path.with_name(f".{self._path.name}.part")
        part.write_text("".join(f"{text}\n" for text in texts), encoding="utf-8")
        os.replace(part, self._path)
        self._file = self._path.open("a", encoding="utf-8")
        return reached

    def add(self, report: Report) -> None:
        """Keep one report, and write its line."""
        info = report.info
        losses, accuracies = np.asarray(info.loss), np.asarray(info.metrics["accuracy"])
        self._calls.append((len(losses) * self._batch_size, report.seconds))
        self.last = report
        line: dict[str, Any] = {
            "step": report.steps,
            "epoch": round(report.epochs, 4),
            "loss": float(losses.mean()),
            "accuracy": float(accuracies.mean()),
            "gradient_norm": float(info.gradient_norm.mean()),
            "seconds": round(report.seconds, 4),
        }
        if info.distance is not None:
            line["gradient_distance"] = float(info.distance.max())
        if report.evaluation is not None:
            line["test_loss"] = float(report.evaluation.loss)
            line["test_accuracy"] = float(report.evaluation.metrics["accuracy"])
        # Of every step, for the curves of a run that is resumed: the shortest text of the same bits.
        line["losses"] = [float(str(value)) for value in losses]
        line["accuracies"] = [float(str(value)) for value in accuracies]
        self._keep(line, losses, accuracies, round(report.steps / report.epochs))
        if self._file is None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self._path.open("w", encoding="utf-8")
        self._file.write(json.dumps(line) + "\n")
        self._file.flush()

    def _keep(
        self, line: Mapping[str, Any], losses: np.ndarray, accuracies: np.ndarray, per_epoch: int
    ) -> None:
        """What a line says, for the curves and the result."""
        steps = np.arange(line["step"] - len(losses) + 1, line["step"] + 1)
        self._training.append(Course(steps / per_epoch, losses, accuracies))
        if "gradient_distance" in line:
            # A NaN is the largest of all, which Python's max does not say.
            largest = np.maximum(line["gradient_distance"], self.largest_distance or 0.0)
            self.largest_distance = float(largest)
        if "test_loss" in line:
            epochs = line["step"] // per_epoch
            self._held_out.append((epochs, line["test_loss"], line["test_accuracy"]))

    def flush(self) -> None:
        """Wait until all lines are on the disk."""
        if self._file is not None:
            self._file.flush()
            os.fsync(self._file.fileno())

    @property
    def empty(self) -> bool:
        """Whether there is no line."""
        return not self._training

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
