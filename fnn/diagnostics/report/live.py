"""A page that is written while the run goes on."""

import os
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from fnn.diagnostics.report.history import History
from fnn.diagnostics.report.page import Status, page, write
from fnn.diagnostics.report.sections import Section, check_sections, facts, machine
from fnn.train import population
from fnn.train.fit import Report


def live(
    path: str | os.PathLike[str],
    *,
    title: str | None = None,
    config: Any = None,
    epochs: int | None = None,
    every: float = 5.0,
    earlier: Iterable[Mapping[str, Any]] = (),
) -> "Live":
    """A logger, as those of `fnn.logs`, that keeps a report page; a context manager too.

        with report.live("runs/a/report.html", config=config, epochs=10) as page:
            for each in train.fit(net, loss, optimizer, train_state, examples, epochs=10, …):
                page(each)
                page.add(report.health(look(each.params, each.train_state.state, x, target)))

    The file is whole at any time. A browser that shows it loads it again until the run has ended; the
    last page says whether it finished, or what stopped it, and stays. The curves need no matplotlib.

    Args:
      path: of the HTML file; folders are made.
      title: of the page; None for the name of the file's folder.
      config: what the run was asked for: a mapping, a dataclass or a named tuple.
      epochs: as given to `fit`, to say how far it is.
      every: seconds that lie between two writings at least; the last state is always written.
      earlier: of a run that goes on, the records there are, such as ``logs.read("runs/a.jsonl")``: those
        up to where it goes on are drawn too.

    Raises:
      IsADirectoryError: the path is a folder.
      ValueError: a time that is not positive, or less than one epoch.
    """
    path = Path(path)
    if path.is_dir():
        raise IsADirectoryError(f"expected a file for the page, got the folder {path}")
    if not every > 0:
        raise ValueError(f"live: expected every in seconds above 0, got {every}")
    if epochs is not None and epochs < 1:
        raise ValueError(f"live: expected at least one epoch, got {epochs}")
    title = path.absolute().parent.name if title is None else title
    return Live(path, title, config, epochs, every, History(earlier))


class Live:
    """See `live`."""

    def __init__(
        self,
        path: Path,
        title: str,
        config: Any,
        epochs: int | None,
        every: float,
        history: History,
    ) -> None:
        self.path, self.title = path, title
        self._config, self._epochs, self._every = config, epochs, every
        self._history = history
        self._sections: dict[str, Section] = {}
        self._written: float | None = None

    def __call__(self, report: Report) -> None:
        """Take note of a report, and write the page if it is time.

        Raises:
          TypeError: it is none, or a population's.
        """
        if not isinstance(report, Report):
            raise TypeError(
                f"live: expected a report of one run, of train.fit, got {_other(report)}"
            )
        self._history.add(report)
        self._write_if_due()

    def add(self, *sections: Section) -> None:
        """Put sections on the page, below the curves; one of the same title takes the old one's place.

        Raises:
          TypeError: it is no section.
          ValueError: its title is one that the page has for its own.
        """
        check_sections(sections)
        for section in sections:
            if section.title.casefold() in map(str.casefold, _OWN):
                raise ValueError(
                    f"expected a title other than {', '.join(_OWN)}, which the page has, got "
                    f"{section.title!r}"
                )
            self._sections[section.title.casefold()] = section
        self._write_if_due()

    def write(self, status: Status | None = None) -> None:
        """Write the page now."""
        running = status is None
        shown = page(
            self.title,
            [*self._history.sections(), *self._sections.values(), *self._origin()],
            status=status or Status("running", self._progress()),
            refresh=max(self._every, 2.0) if running else None,
        )
        write(self.path, shown)
        self._written = time.monotonic()

    def end(self, *, stopped_by: str | None = None) -> None:
        """Write the last page, of a run that finished or that something stopped, as the context does."""
        if stopped_by is None:
            self.write(Status("finished", f"finished; {self._progress()}"))
        else:
            self.write(Status("stopped", f"stopped by {stopped_by}; {self._progress()}"))

    def __enter__(self) -> Self:
        self.write()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is None:
            self.end()
        else:
            said = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
            self.end(stopped_by=said)

    def _write_if_due(self) -> None:
        if self._written is None or time.monotonic() - self._written >= self._every:
            self.write()

    def _progress(self) -> str:
        last = self._history.last
        if last is None:
            return "no report yet"
        of = f" of {self._epochs}" if self._epochs is not None else ""
        return f"epoch {last['epoch']:.4g}{of}, step {last['step']:,}, loss {last['loss']:.4g}"

    def _origin(self) -> list[Section]:
        config = [] if self._config is None else [facts(_OWN[2], self._config)]
        return [*config, machine(title=_OWN[3])]


def _other(given: object) -> str:
    """What was given in the place of a report, and what can be done with it."""
    if isinstance(given, population.Report):
        return "one of a population; those are for the loggers of fnn.logs"
    return f"{type(given).__name__}; sections are added with page.add(…)"


_OWN = ("Curves", "Reports", "Configuration", "Versions and machine")
