"""How far a run is, in the terminal."""

import math
from types import TracebackType
from typing import Any, Self

from fnn.extras import require
from fnn.logs.record import AnyReport, record, steps_made


def progress(epochs: int, *, console: Any = None) -> "Progress":
    """A logger that shows a bar to the end of `epochs`, the time left, and the newest numbers.

    Each evaluation leaves a line above it. Of a population, the numbers are those of the member of the
    lowest loss, which is named by its index: on the bar in training, on the line in validation. Of a
    console that is no terminal, such as a file, only these lines and the last state of the bar are
    written. Extra: cli.

    Args:
      epochs: as given to `fit`.
      console: a `rich.console.Console`; None for one on standard output.

    Raises:
      ImportError: `rich` is not installed.
      ValueError: less than one epoch.
    """
    if epochs < 1:
        raise ValueError(f"expected at least one epoch, got {epochs}")
    rich = require("rich.progress", "cli")
    console = console or rich.get_console()
    bar = rich.Progress(
        rich.TextColumn("epoch {task.fields[epoch]}"),
        rich.BarColumn(min(40, max(4, console.width - _ROOM))),
        rich.TextColumn("{task.completed:.0f}/{task.fields[whole]} steps"),
        rich.TimeRemainingColumn(),
        rich.TextColumn("{task.fields[numbers]}", markup=False),
        console=console,
    )
    return Progress(bar, epochs)


_ROOM = 76  # columns that stand beside the bar: the numbers shall not be cut for its sake


class Progress:
    """See `progress`."""

    def __init__(self, bar: Any, epochs: int) -> None:
        self.epochs = epochs
        self._bar = bar
        self._task: Any = None

    def __call__(self, report: AnyReport) -> None:
        """Move the bar."""
        found = record(report)
        total = round(report.steps / report.epochs * self.epochs)
        now = f"{report.epochs:.4g}/{self.epochs}"
        if self._task is None:
            self._bar.start()
            # From where the run goes on, so that the time left is not reckoned from step 0.
            before = steps_made(report)
            self._task = self._bar.add_task(
                "", total=total, completed=before, epoch=now, whole=total, numbers=""
            )
        shown = _of_members(found) if "members" in found else _of_run(found)
        self._bar.update(self._task, completed=report.steps, epoch=now, numbers="  ".join(shown))
        if "evaluation" in found:
            self._bar.console.print(
                f"epoch {now}  {_evaluated(found)}", markup=False, highlight=False
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bar.stop()


def _of_run(found: dict[str, Any]) -> list[str]:
    parts = [_numbers(found), _rate(found)]
    return [*parts, f"skipped {found['skipped']}"] if found.get("skipped", 0) else parts


def _of_members(found: dict[str, Any]) -> list[str]:
    """What matters most foremost, since the rest is cut in a narrow terminal."""
    best = _best(found)
    parts = [_NONE if best is None else f"best {best}: {_numbers(_member(found, best))}"]
    running, skipped = sum(found["running"]), max(found.get("skipped", [0]))
    if running < found["members"]:
        parts.append(f"{running} of {found['members']} run")
    if skipped:
        parts.append(f"skipped up to {skipped}")
    return [*parts, _rate(found)]


def _evaluated(found: dict[str, Any]) -> str:
    evaluation = found["evaluation"]
    if "members" not in found:
        return f"{_numbers(found)}  validation: {_numbers(evaluation)}"
    best = _best(evaluation)
    if best is None:
        return f"validation: {_NONE}"
    worst = max(filter(math.isfinite, evaluation["loss"]))
    numbers = _numbers(_member(evaluation, best))
    return f"best member {best}: validation {numbers}; worst {worst:.4g}"


_NONE = "no member's loss is finite"


def _best(found: dict[str, Any]) -> int | None:
    """The member of the lowest loss."""
    finite = [(loss, i) for i, loss in enumerate(found["loss"]) if math.isfinite(loss)]
    return min(finite)[1] if finite else None


def _member(tree: Any, i: int) -> Any:
    """The part of a population's record that is the member's."""
    if isinstance(tree, dict):
        return {name: _member(value, i) for name, value in tree.items()}
    return tree[i] if isinstance(tree, list) else tree


def _numbers(found: dict[str, Any]) -> str:
    values = {"loss": found["loss"], **found["metrics"]}
    return "  ".join(f"{name} {value:.4g}" for name, value in values.items())


def _rate(found: dict[str, Any]) -> str:
    return f"{found['examples_per_second']:,.0f} examples/s"
