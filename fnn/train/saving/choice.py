"""Which checkpoint of a folder is read, and which are kept."""

import math
import warnings
from pathlib import Path
from typing import Literal

from fnn.train.saving import files
from fnn.train.saving.run import Saved, read_run

Best = Literal["min", "max"]


class DamagedCheckpointWarning(UserWarning):
    """A checkpoint was passed over, because it is not as it was written."""


def newest(folder: Path, step: int | None, damaged: set[int]) -> tuple[Saved, Path]:
    """The newest whole checkpoint, or that of `step`: (what it says of itself, its folder).

    The steps of those that are not whole are added to `damaged`.

    Raises:
      FileNotFoundError: there is no checkpoint, or none of this step.
      ValueError: none is whole.

    Warns:
      DamagedCheckpointWarning: of every one that was passed over, naming what is wrong.
    """
    passed: list[str] = []
    tried: set[int] = set()
    while left := [s for s in files.steps(folder) if s not in tried and step in (None, s)]:
        tried.add(left[-1])
        place = files.step_folder(folder, left[-1])
        faults = files.faults(place)
        if not place.is_dir():
            continue  # deleted while it was read, as there are newer ones
        if not faults:
            for text in passed:
                warnings.warn(f"{text}. Taken is {place}.", DamagedCheckpointWarning, stacklevel=3)
            return read_run(place), place
        damaged.add(left[-1])
        passed.append(f"{place}: is damaged and passed over: {'; '.join(faults)}")
    if passed:
        listed = "\n".join(f"  {text}" for text in passed)
        raise ValueError(f"{folder}: expected a whole checkpoint, got none:\n{listed}")
    which = "a checkpoint" if step is None else f"a checkpoint of step {step}"
    raise FileNotFoundError(f"{folder}: expected {which}, got those of steps {files.steps(folder)}")


def best_step(folder: Path, best: Best) -> int | None:
    """The step of the best score, the earliest of equals; None if none has a score."""
    sign = -1 if best == "max" else 1
    scores = []
    for step in files.steps(folder):
        try:
            score = read_run(files.step_folder(folder, step)).score
        except (OSError, ValueError):
            continue  # a damaged one is no best one; `restore` is where it is told
        if score is not None and not math.isnan(score):
            scores.append((sign * score, step))
    return min(scores)[1] if scores else None


def prune(folder: Path, just_saved: int, keep: int, best: Best | None) -> None:
    """Delete all but the `keep` newest, the best, and the one just saved, which may be behind others.

    Warns:
      RuntimeWarning: one cannot be deleted, which takes nothing from those that are kept.
    """
    there = files.steps(folder)
    kept = {just_saved, *there[-keep:]}
    if best is not None and (step := best_step(folder, best)) is not None:
        kept.add(step)
    for step in there:
        if step in kept:
            continue
        try:
            files.delete(files.step_folder(folder, step))
        except OSError as error:
            warnings.warn(
                f"{folder}: the old checkpoint of step {step} could not be deleted: {error}",
                RuntimeWarning,
                stacklevel=4,
            )
