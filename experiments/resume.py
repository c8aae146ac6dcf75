"""How a run of `experiments.mnist` survives Ctrl-C, SIGTERM and kill -9: its checkpoints."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

from experiments.folder import CHECKPOINTS
from experiments.plan import Plan
from experiments.record import Record
from experiments.screen import Screen
from fnn import train


class Terminated(KeyboardInterrupt):
    """SIGTERM came, which ends a run as Ctrl-C does."""


@contextmanager
def terminable() -> Iterator[None]:
    """Within it, SIGTERM raises `Terminated`; in the main thread, which alone hears of it."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def terminate(number: int, frame: FrameType | None) -> NoReturn:
        del number, frame
        raise Terminated

    before = signal.signal(signal.SIGTERM, terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


class Saves:
    """The checkpoints of one run, in its folder --out; nothing is imported before the first is used."""

    def __init__(self, plan: Plan, screen: Screen) -> None:
        self._saved = train.checkpoints(plan.out / CHECKPOINTS, keep=2, settings=plan.identity)
        self._every = plan.config.save_every
        self._resumes = plan.config.resume
        self._screen = screen
        self._made = 0  # the step of the newest checkpoint

    def resumed(self, state: train.TrainState) -> train.TrainState:
        """With --resume, the newest checkpoint's state, if there is one.

        Raises:
          ValueError: it was made with other settings, or none is whole.
        """
        if not self._resumes:
            return state
        if not self._saved.steps():
            self._screen.say(f"no checkpoint in {self._saved.folder}: from the start")
            return state
        state, saved = self._saved.restore(state)
        self._made = saved.step
        self._screen.say(
            f"resumed after step {saved.step}, saved {saved.time} in {self._saved.folder}"
        )
        return state

    def follow(self, report: train.Report, record: Record) -> None:
        """After a report that is logged: save if it is time."""
        if self._every is not None and report.steps - self._made >= self._every:
            record.flush()  # the log is never behind the checkpoint
            self._save(report.train_state, "training goes on")

    def end(self, state: train.TrainState, stopped: bool) -> None:
        """Save the last state of a run that was stopped, or that saves anyway."""
        if (stopped or self._every is not None or self._resumes) and int(state.step) > self._made:
            self._save(state, "its weights are saved nevertheless")
        self._saved.close()
        if stopped and self._made:
            self._screen.say(f"the same command with --resume goes on after step {self._made}")

    def _save(self, state: train.TrainState, otherwise: str) -> None:
        try:
            self._saved.save(state)
        except train.StepExistsError:  # the signal came when it was just saved
            self._made = int(state.step)
        except (OSError, ImportError) as error:
            self._screen.fail(f"no checkpoint of step {int(state.step)}: {error}; {otherwise}")
        else:
            self._made = int(state.step)
