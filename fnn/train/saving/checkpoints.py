"""Checkpoints of a whole training run: saved atomically, checked when read, kept k.

    with train.checkpoints("runs/a", keep=3, settings={"rate": 0.1}) as saved:
        if saved.steps():
            state = saved.restore(state).train_state
        for report in train.fit(net, loss, optimizer, state, examples, epochs=10, batch_size=128):
            saved.save(report.train_state)

`train.durable` is this loop, with signals. A step's folder holds `state`, an orbax checkpoint that other
programs can read, `run.json`, and the sums of all files.
"""

import atexit
import os
import threading
from collections.abc import Collection, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

import jax
import numpy as np
from jax.experimental import multihost_utils

from fnn.layer import PyTree
from fnn.train.saving import files
from fnn.train.saving import tree as trees
from fnn.train.saving.choice import Best, best_step, newest, prune
from fnn.train.saving.run import Saved, as_settings, compare_settings, saved_now, write_run

_STATE = "state"


class Restored(NamedTuple):
    """What `Checkpoints.restore` gives."""

    train_state: PyTree
    saved: Saved


class SaveError(OSError):
    """A checkpoint could not be written; what was saved before is untouched."""

    train_state: PyTree | None = None  # `train.durable` puts what is not saved here


class StepExistsError(ValueError):
    """There is a whole checkpoint of this step."""


class Checkpoints:
    """The checkpoints in one folder: see `checkpoints`. A context manager, closed at its end."""

    def __init__(
        self,
        folder: Path,
        keep: int,
        best: Best | None,
        settings: dict[str, Any] | None,
        background: bool,
    ) -> None:
        self.folder = folder
        self._keep, self._best, self._settings = keep, best, settings
        self._background = background
        self._lock: files.Lock | None = None
        self._damaged: set[int] = set()
        self._thread: threading.Thread | None = None
        self._failure: BaseException | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def steps(self) -> list[int]:
        """The steps that there are checkpoints of, in order; whether they are whole is not looked at."""
        return files.steps(self.folder)

    def save(
        self, train_state: PyTree, *, step: int | None = None, score: float | None = None
    ) -> Path:
        """Save a train state: when this returns, it is on the disk. With `background`, `wait` says so.

        Then the checkpoints that are not among the `keep` newest are deleted, but for the best. On
        several processes, each of them calls this with its part of the same state.

        Args:
          train_state: any tree of arrays with a `step`; of a population, the furthest counts.
          step: instead of ``train_state.step``.
          score: what the best is chosen by, if any; never NaN's.

        Returns:
          The checkpoint's folder.

        Raises:
          SaveError: it could not be written, such as on a full disk (with `background`: the save
            before this one). Nothing of it is left, the earlier checkpoints are, and it can be saved
            when there is room.
          BlockingIOError: another writer has this folder open.
          StepExistsError: there is a whole checkpoint of this step.
          ValueError: two leaves have the same path.
          TypeError: a leaf is no array.
        """
        self.wait()
        step = int(np.max(np.asarray(train_state.step))) if step is None else step
        leaves = trees.described(train_state)
        self.claim()
        self._make_way(step)
        arrays = trees.arrays_of(train_state, copied=self._background)
        saved = saved_now(step, self._settings or {}, score, leaves)
        if self._background:
            self._thread = threading.Thread(target=self._write_later, args=(saved, arrays))
            # A process that ends without `close` cannot finish it, which is then said on stderr.
            atexit.register(self.wait)
            self._thread.start()
        else:
            self._write(saved, arrays)
        return files.step_folder(self.folder, step)

    def restore(
        self, like: PyTree, *, step: int | None = None, may_differ: Collection[str] = ()
    ) -> Restored:
        """The newest whole checkpoint, as a tree of the structure of `like`.

        Settings and structure are compared before anything is read. Each leaf has the dtype and the
        weak type with which it was saved, and lies on the devices and in the shards of the leaf of
        `like`, whatever they were when it was saved.

        Args:
          like: such as `train.init` gives; its leaves need a shape and a dtype only.
          step: that one, and no other.
          may_differ: names of settings that may be others than those of the saved run.

        Raises:
          FileNotFoundError: there is no checkpoint, or none of this step.
          ValueError: none is whole; or settings, structure, shapes or dtypes differ, in a line each.

        Warns:
          DamagedCheckpointWarning: of every newer one that is not whole, naming what is wrong.
        """
        self.wait()
        saved, place = newest(self.folder, step, self._damaged)
        if self._settings is not None:
            compare_settings(place, saved.settings, self._settings, may_differ)
        trees.check_structure(place, trees.described(like), saved.leaves)
        return Restored(trees.read(place / _STATE, like, saved.leaves), saved)

    def read(self, step: int | None = None) -> Saved:
        """What the newest whole checkpoint, or that of `step`, says of itself.

        Raises and warns: as `restore`.
        """
        self.wait()
        return newest(self.folder, step, self._damaged)[0]

    def best_step(self) -> int | None:
        """The step of the best score, the earliest of equals; None if none has a score."""
        return best_step(self.folder, self._best or "min")

    def claim(self) -> None:
        """Be the one writer of the folder, until `close`; the first save does it otherwise.

        What killed saves left there is removed.

        Raises:
          BlockingIOError: another writer has it.
        """
        if self._lock is None and _first_process():
            self._lock = files.Lock(self.folder)
            files.clean(self.folder)

    def wait(self) -> None:
        """Wait until the save in the background has ended.

        Raises:
          SaveError: it failed.
        """
        if self._thread is not None:
            self._thread.join()
            self._thread = None
            atexit.unregister(self.wait)
        if self._failure is not None:
            failure, self._failure = self._failure, None
            raise failure

    def close(self) -> None:
        """Wait, and let another writer have the folder.

        Raises:
          SaveError: the save in the background failed.
        """
        try:
            self.wait()
        finally:
            if self._lock is not None:
                self._lock.release()
                self._lock = None

    def _make_way(self, step: int) -> None:
        """Free the name of this step if a damaged checkpoint has it."""
        there = set(self.steps())
        if step in there - self._damaged:
            if not files.faults(files.step_folder(self.folder, step)):
                raise StepExistsError(
                    f"{files.step_folder(self.folder, step)}: expected a step that is not saved yet, got "
                    "one that is; go on from the newest, or save in another folder"
                )
            self._damaged.add(step)
        if _first_process():
            for damaged in self._damaged & there:
                files.set_aside(files.step_folder(self.folder, damaged))
        self._damaged.clear()

    def _write_later(self, saved: Saved, arrays: PyTree) -> None:
        try:
            self._write(saved, arrays)
        except BaseException as error:  # not lost: `wait` raises it
            self._failure = error

    def _write(self, saved: Saved, arrays: PyTree) -> None:
        final, first = files.step_folder(self.folder, saved.step), _first_process()
        part = files.part_of(final)
        try:
            if first:
                files.begin(part)
            trees.write(part / _STATE, arrays)
            if first:
                write_run(part, saved)
                files.commit(part, final)
        except ImportError:
            raise
        except Exception as error:
            raise SaveError(
                f"{final}: the checkpoint of step {saved.step} could not be written: "
                f"{files.reason(error)}; what was saved in {self.folder} before is untouched"
            ) from error
        finally:
            if first:
                files.discard(part)
        if first:
            prune(self.folder, saved.step, self._keep, self._best)
        if jax.process_count() > 1:  # saved is saved on all
            multihost_utils.sync_global_devices(f"fnn checkpoint {saved.step}")


def checkpoints(
    folder: str | os.PathLike[str],
    *,
    keep: int = 3,
    best: Best | None = None,
    settings: Mapping[str, Any] | None = None,
    background: bool = False,
) -> Checkpoints:
    """The checkpoints in `folder`, which need not exist yet.

    A save is atomic: it is written beside, flushed to the disk with the SHA-256 sums of all its files,
    and gets its name by one rename. So a process may be killed at any time and a disk be full. A reader
    checks all sums; the sums are of the files, so that any change of any of them is found.

    Args:
      folder: of one run. One writer has it at a time; readers need no permission.
      keep: how many of the newest to keep, at least one.
      best: keep the one with the lowest ("min") or highest ("max") `score` as well.
      settings: of the run, as JSON has them: what the continuation has to have in common with it, such as
        the batch size and the number of examples, on which the batch of a step depends. `restore`
        refuses others. None: nothing is compared.
      background: let a thread write, from a copy of the state, while the training goes on. Close what
        is returned (a `with` does) before the process ends, or the last save may be lost. Of one
        process only.

    Raises:
      ValueError: keep below 1, an unknown `best`, or a background on several processes.
      TypeError: settings that JSON does not have.
      ImportError (at the first save or restore): orbax-checkpoint is not installed.
    """
    if keep < 1:
        raise ValueError(f"expected to keep at least one checkpoint, got keep={keep}")
    if best not in (None, "min", "max"):
        raise ValueError(f"expected best 'min', 'max' or None, got {best!r}")
    if background and jax.process_count() > 1:
        raise ValueError(
            "expected background=False on several processes, whose saves wait for each other"
        )
    given = None if settings is None else as_settings(settings)
    return Checkpoints(Path(folder), keep, best, given, background)


def _first_process() -> bool:
    return jax.process_index() == 0
