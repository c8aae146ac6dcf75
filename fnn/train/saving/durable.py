"""`fit` that may be stopped at any moment and goes on where it was."""

import os
import time
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import ExitStack
from typing import Any, Literal

import jax
import numpy as np
from jax.experimental import multihost_utils

from fnn.layer import Layer
from fnn.losses import Loss
from fnn.optimizers import hyperparameters
from fnn.train.feed import Source, counted
from fnn.train.fit import Report, fit
from fnn.train.options import Batch, check_shardings
from fnn.train.precision import AnyOptimizer
from fnn.train.saving.checkpoints import Checkpoints, SaveError, StepExistsError, checkpoints
from fnn.train.saving.interrupt import Interruption, interruptible, leave
from fnn.train.state import TrainState, check_single


class FinishedRunWarning(UserWarning):
    """A run was asked to go on that has made all of its steps."""


def durable(
    folder: str | os.PathLike[str],
    net: Layer,
    loss: Loss,
    optimizer: AnyOptimizer,
    train_state: TrainState,
    examples: Batch | Source,
    *,
    epochs: int,
    batch_size: int | None,
    save_steps: int | None = None,
    save_minutes: float | None = 10.0,
    keep: int = 3,
    best: Literal["min", "max"] | None = None,
    score: Callable[[Report], float | None] | None = None,
    settings: Mapping[str, Any] | None = None,
    may_differ: Collection[str] = (),
    background: bool = False,
    signals: bool = True,
    **options: Any,
) -> Iterator[Report]:
    """``fit(net, loss, optimizer, train_state, examples, …)`` with its checkpoints in `folder`.

        for report in train.durable("runs/a", net, loss, adam(), start, (x, labels),
                                    epochs=100, batch_size=128, settings={"rate": 1e-3}):
            print(report.epochs, report.info.loss.mean())

    Run the same program again, after Ctrl-C, SIGTERM, a crash, `kill -9` or a power cut, and it goes on
    from the newest whole checkpoint: the reports, from there, and the last state are bit for bit those of
    the run that was never stopped. Of a run that is finished there is no report, but a
    `FinishedRunWarning`: its state is ``checkpoints(folder).restore(train_state).train_state``, and more
    `epochs` make it longer.

    It saves after a report, when the loop asks for the next one: what a logger wrote of it is never
    behind the checkpoint. That is when `save_steps` or `save_minutes` have passed since the last save, at
    the end, when the loop is left, when `fit` raises, and after the first signal (see `interruptible`),
    whereupon the process ends. A second signal stops at once, without saving.

    Write the call into the `for` statement, as above: a name that holds it beyond its loop keeps the run
    open, unsaved.

    A save that fails, such as on a full disk, is a warning as long as the training goes on, and tried
    again after the next report; at the end it is an error, which holds the state.

    Args:
      folder: of this run and no other.
      net: as for `fit`; so are loss, optimizer, examples, epochs, batch_size and `options`.
      loss: see there.
      optimizer: see there.
      train_state: where the run starts if there is no checkpoint, and the structure of one.
      examples: see `fit`.
      epochs: see `fit`; more than before make a run longer.
      batch_size: see `fit`.
      save_steps: steps between saves, in whole calls of `fit`; None for no such rule.
      save_minutes: minutes between saves; None for no such rule.
      keep: see `checkpoints`; so are `best` and `background`.
      best: see there.
      score: of a report, what the best checkpoint is chosen by; None where it has none.
      settings: what else a continuation must have in common with the run, as JSON has it: the names of
        the network, the schedule and the data. The batch size, the number of examples and the optimizer's
        hyperparameters in `train_state` are always among it.
      may_differ: the names of settings that may be others now.
      background: see `checkpoints`.
      signals: whether to handle SIGTERM and Ctrl-C, of which only the main thread hears.
      options: see `fit`.

    Raises (at the call):
      ValueError: as `fit`; as `Checkpoints.restore`; a rule for saving that makes no sense; `best`
        without a score; or other settings called `batch_size` or `examples`.

    Raises (in the loop):
      NonFiniteError: see `fit`.
      Interrupted: a signal came, and all is saved.
      SaveError: the last save failed; `error.train_state` is what it should have held.
      BlockingIOError: another run saves in this folder.
      RuntimeError: signals are to be handled, and this is not the main thread.

    Warns:
      FinishedRunWarning: all epochs are made; ``list(durable(…))`` is empty.
      RuntimeWarning: a save failed and will be tried again.
    """
    for name, value in (("save_steps", save_steps), ("save_minutes", save_minutes)):
        if value is not None and not value > 0:
            raise ValueError(f"expected {name} above 0, or None, got {value}")
    if best is not None and score is None:
        raise ValueError(f"expected a score of a report to choose the best by, as best={best!r}")
    check_single(train_state, "train.durable")
    size, per_epoch = counted(examples, batch_size)
    total = epochs * per_epoch
    own: dict[str, Any] = {"batch_size": size, "examples": counted(examples, None)[0]}
    # The restored state has the rate that the run began with, so another one would do nothing.
    for path, number in hyperparameters(train_state.optimizer).items():
        own[f"optimizer/{path}"] = np.asarray(number).tolist()
    common = {**own, **(settings or {})}
    for name, value in own.items():
        if common[name] != value:
            raise ValueError(
                f"settings: expected {name!r} to be the {value} of this run, under which it is kept, or "
                f"another name, got {common[name]!r}"
            )
    saved = checkpoints(folder, keep=keep, best=best, settings=common, background=background)
    if saved.steps():
        shardings = options.get("shardings")
        check_shardings(shardings)
        like = train_state if shardings is None else shardings.place(train_state)
        train_state = saved.restore(like, may_differ=may_differ).train_state
    made = int(train_state.step)
    if saved.steps() and epochs >= 1 and made >= total:
        warnings.warn(
            f"{folder}: the run is finished, {made} steps of {total} are made, so there is no report; "
            "its state is checkpoints(folder).restore(train_state).train_state, and more epochs than "
            f"{made / per_epoch:g} make it longer",
            FinishedRunWarning,
            stacklevel=2,
        )
        return iter(())
    reports = fit(
        net, loss, optimizer, train_state, examples, epochs=epochs, batch_size=batch_size, **options
    )
    rule = _Rule(made, save_steps, save_minutes)
    return _saving(reports, saved, rule, score or _no_score, total, signals)


class _Rule:
    """When it is time for the next save."""

    def __init__(self, made: int, steps: int | None, minutes: float | None) -> None:
        self._steps, self._minutes = steps, minutes
        self.reset(made)

    def reset(self, made: int) -> None:
        """There was a save after so many steps."""
        self._made, self._since = made, time.monotonic()

    def due(self, made: int) -> bool:
        """Whether one of the two has passed."""
        minutes = (time.monotonic() - self._since) / 60
        return (self._steps is not None and made - self._made >= self._steps) or (
            self._minutes is not None and minutes >= self._minutes
        )


def _saving(
    reports: Iterator[Report],
    saved: Checkpoints,
    rule: _Rule,
    score: Callable[[Report], float | None],
    total: int,
    signals: bool,
) -> Iterator[Report]:
    """Each report, and a save after it where the rule says so."""
    with ExitStack() as stack:
        stack.enter_context(saved)
        saved.claim()
        interruption = stack.enter_context(interruptible()) if signals else Interruption()
        latest: Report | None = None
        safe: Report | None = None  # the one that is saved, or that a thread is saving

        def save(last: bool) -> None:
            nonlocal safe
            try:
                saved.wait()
            except SaveError as error:  # of the save before, in the background
                safe = None
                _warn(error)
            if latest is None or latest is safe:
                return
            try:
                saved.save(latest.train_state, score=score(latest))
                if last:
                    saved.wait()
            except StepExistsError:
                if not last:
                    raise
                # An exception, such as Ctrl-C, came when it was just saved.
            except SaveError as error:
                if last:
                    error.train_state = latest.train_state
                    raise
                _warn(error)
                return
            rule.reset(latest.steps)
            safe = latest

        try:
            for report in reports:
                latest = report
                yield report
                stop, due = _agreed(bool(interruption), rule.due(report.steps))
                if stop:
                    break
                if due:
                    save(last=False)
        except BaseException:  # the loop was left, or fit raised
            if not interruption.at_once:
                save(last=True)
            raise
        save(last=True)
        if latest is not None and interruption.signal is not None:
            leave(
                f"stopped by {interruption.signal.name} after step {latest.steps} of {total}, which is "
                f"saved in {saved.folder}; the same command goes on from there",
                interruption.signal,
            )


def _warn(error: SaveError) -> None:
    warnings.warn(f"{error}. It will be tried again.", RuntimeWarning, stacklevel=4)


def _agreed(*flags: bool) -> tuple[bool, ...]:
    """What holds on any process, on all: signals and clocks are not the same everywhere."""
    if jax.process_count() == 1:
        return flags
    together = multihost_utils.process_allgather(np.asarray(flags))
    return tuple(bool(flag) for flag in together.any(axis=0))


def _no_score(report: Report) -> None:
    del report
