"""Several loggers as one."""

from contextlib import AbstractContextManager, ExitStack
from types import TracebackType
from typing import Protocol, Self

from fnn.logs.record import AnyReport


class Logger(Protocol):
    """What takes reports; those that hold files or a screen are context managers too."""

    def __call__(self, report: AnyReport, /) -> None:
        """Take note of a report."""


def tee(*loggers: Logger) -> "Tee":
    """The loggers, each given every report, in this order; entered and left together.

    What one raises comes out, and all are left.

    Raises:
      TypeError: one of them cannot be called.
    """
    for logger in loggers:
        if not callable(logger):
            raise TypeError(f"tee: expected callables on a report, got {logger!r}")
    return Tee(loggers)


class Tee:
    """See `tee`."""

    def __init__(self, loggers: tuple[Logger, ...]) -> None:
        self.loggers = loggers
        self._entered = ExitStack()

    def __call__(self, report: AnyReport) -> None:
        """Give the report to all."""
        for logger in self.loggers:
            logger(report)

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            for logger in self.loggers:
                if isinstance(logger, AbstractContextManager):
                    stack.enter_context(logger)
            self._entered = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._entered.__exit__(kind, error, trace)
