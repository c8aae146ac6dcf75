"""How far a run is, in the terminal."""

from types import TracebackType
from typing import Any, Self

from fnn.extras import require
from fnn.logs.record import AnyReport, record, steps_made, summarized


def progress(epochs: int, *, console: Any = None) -> "Progress":
    """A logger that shows a bar to the end of `epochs`, the time left, and the newest numbers.

    Each evaluation leaves a line above it. Of a population, a number is that of the mean member, and then
    of the lowest and of the highest. Of a console that is no terminal, such as a file, only these
    lines and the last state of the bar are written. Extra: cli.

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
    bar = rich.Progress(
        rich.TextColumn("epoch {task.fields[epoch]}"),
        rich.BarColumn(),
        rich.TextColumn("{task.completed:.0f}/{task.fields[whole]} steps"),
        rich.TimeRemainingColumn(),
        rich.TextColumn("{task.fields[numbers]}", markup=False),
        console=console,
    )
    return Progress(bar, epochs)


class Progress:
    """See `progress`."""

    def __init__(self, bar: Any, epochs: int) -> None:
        self.epochs = epochs
        self._bar = bar
        self._task: Any = None

    def __call__(self, report: AnyReport) -> None:
        """Move the bar."""
        found = summarized(record(report))
        total = round(report.steps / report.epochs * self.epochs)
        now = f"{report.epochs:.4g}/{self.epochs}"
        if self._task is None:
            self._bar.start()
            # From where the run goes on, so that the time left is not reckoned from step 0.
            before = steps_made(report)
            self._task = self._bar.add_task(
                "", total=total, completed=before, epoch=now, whole=total, numbers=""
            )
        parts = [_numbers(found), f"{found['examples_per_second']:,.0f} examples/s"]
        skipped = found.get("skipped", 0)
        if (skipped["max"] if isinstance(skipped, dict) else skipped) > 0:
            parts.append(f"skipped {_number(skipped)}")
        if found.get("running", 0) < found.get("members", 0):
            parts.append(f"{found['running']} of {found['members']} members run")
        numbers = "  ".join(parts)
        self._bar.update(self._task, completed=report.steps, epoch=now, numbers=numbers)
        if "evaluation" in found:
            line = f"epoch {now}  {_numbers(found)}  validation: {_numbers(found['evaluation'])}"
            self._bar.console.print(line, markup=False, highlight=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bar.stop()


def _numbers(found: dict[str, Any]) -> str:
    values = {"loss": found["loss"], **found["metrics"]}
    return "  ".join(f"{name} {_number(value)}" for name, value in values.items())


def _number(value: float | dict[str, float]) -> str:
    """A number, or those of a population."""
    if isinstance(value, dict):
        return f"{value['mean']:.4g} ({value['min']:.4g} to {value['max']:.4g})"
    return f"{value:.4g}"
