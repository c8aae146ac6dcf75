"""What a run shows in the terminal: sections, tables as they come, and a bar while it trains.

On a terminal the bar is live; in a file or a pipe there is one line an epoch and nothing else.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

from fnn.extras import require


class Screen:
    """A rich console, used in a few fixed ways."""

    def __init__(self) -> None:
        rich: ModuleType = require("rich.console", "experiments")
        self.console: Any = rich.Console(highlight=False)

    def section(self, title: str) -> None:
        """Begin a new part."""
        self.console.print()
        self.console.rule(f"[bold]{title}", align="left", style="dim")

    def say(self, text: str) -> None:
        """Print lines as they are: never wrapped, nothing in them taken for markup."""
        self.console.print(text, markup=False, soft_wrap=True)

    def fail(self, text: str) -> None:
        """Print what went wrong."""
        self.console.print(text, markup=False, soft_wrap=True, style="bold red")

    @contextmanager
    def waiting(self, what: str) -> Iterator[None]:
        """A spinner while something takes its time; only on a terminal."""
        with self.console.status(what):
            yield

    @contextmanager
    def bar(self, steps: int) -> Iterator["Bar"]:
        """A bar for a training run of so many steps."""
        progress = require("rich.progress", "experiments")
        columns = (
            progress.TextColumn("{task.fields[epoch]}"),
            progress.BarColumn(bar_width=None),  # as wide as the terminal lets it be
            progress.TextColumn("{task.fields[numbers]}"),
            progress.TimeRemainingColumn(),
            progress.TextColumn("left"),
        )
        shown = progress.Progress(
            *columns,
            console=self.console,
            disable=not self.console.is_terminal,
            transient=True,
            expand=True,
        )
        with shown:
            task = shown.add_task("", total=steps, epoch="compiling", numbers="")
            yield Bar(shown, task)


class Bar:
    """One bar: call `update` after every compiled call."""

    def __init__(self, progress: Any, task: Any) -> None:
        self._progress, self._task = progress, task

    def update(self, steps: int, epoch: str, numbers: str) -> None:
        """Show how many steps are made, in which epoch, and the numbers of the last call."""
        self._progress.update(self._task, completed=steps, epoch=epoch, numbers=numbers)
