"""What a check found: a row for each method and leaf, as values; `str()` of it is a page to read.

report.ok, report.failures, report.worst     to a program
print(report), rich.print(report)            to a person: see `fnn.check.reports.text`
report.to_json(), Report.from_json(text)     to a file: see `fnn.check.reports.encode`
report.to_html()                             one page that needs no network: see `fnn.check.reports.page`
"""

import math
from collections.abc import Iterable, Iterator
from typing import Any, Literal, NamedTuple

from fnn.check.reports.environment import Environment
from fnn.check.reports.page import report_page
from fnn.check.reports.text import drawn_by_rich, report_text

Verdict = Literal["ok", "wrong", "undecided", "kink"]


class GradientError(AssertionError):
    """A backward pass is not the transpose of its forward pass's derivative."""


class Row(NamedTuple):
    """One method's finding for one leaf, on the probe for which it was worst.

    ``undecided`` says that the method cannot tell here, most often because the function is not
    differentiable at this point or close to it. ``kink`` says that it is not differentiable at
    `element`, and that the gradient given there is one of those that a convention may choose. Neither
    is a failure; the report says why.
    """

    method: str
    path: str  # params/hidden/w, x
    relative: float  # what `tolerance` bounds
    absolute: float  # at `element`
    element: tuple[int, ...] | None  # the worst one; None where two numbers were compared
    hand: float | str  # by the hand-written backward, at `element`; words where a structure differs
    reference: float | str
    tolerance: float
    verdict: Verdict
    predicate: str  # what was asked, with the probe it was asked of
    likely: str = ""  # the fault that the evidence fits, where it fits one

    @property
    def ok(self) -> bool:
        """Whether no fault was found."""
        return self.verdict != "wrong"

    @property
    def is_product(self) -> bool:
        """Whether two inner products were compared, which name no element."""
        return self.element is None and not isinstance(self.hand, str)

    @property
    def severity(self) -> float:
        """The error in units of what is tolerated; infinite for a NaN or a wrong structure."""
        if self.relative == 0:
            return 0.0
        ratio = self.relative / self.tolerance if self.tolerance else math.inf
        return math.inf if math.isnan(ratio) else ratio

    def __str__(self) -> str:
        where = "" if self.element is None else f" at index {self.element}"
        where += f", {self.verdict}" if self.verdict in ("undecided", "kink") else ""
        likely = f"  likely: {self.likely}\n" if self.likely else ""
        return (
            f"{self.path}: {self.method}{where}\n"
            f"  hand {_value(self.hand)}, reference {_value(self.reference)}\n"
            f"  relative error {self.relative:.1e}, absolute error {self.absolute:.1e}\n"
            f"{likely}  asked: {self.predicate}"
        )


class Branch(NamedTuple):
    """A `where`, `select` or comparison of a backward pass of which no probe reached one side."""

    source: str  # file and line
    operation: str  # such as `x > 0`'s gt, or select_n
    missing: str  # the side that was not reached
    reached_by: str = ""  # an input that reaches it, where a search found one


class Report(NamedTuple):
    """All rows of one subject, and the branches of its backward that no row can speak for."""

    name: str
    rows: tuple[Row, ...]
    branches: tuple[Branch, ...] = ()
    seed: int | None = None  # of the probes
    environment: Environment | None = None  # where the check ran; None: in this process

    @property
    def ok(self) -> bool:
        """Whether every row is."""
        return all(row.ok for row in self.rows)

    @property
    def failures(self) -> tuple[Row, ...]:
        """The rows that are not ok, what says most first.

        That is a wrong structure, then reverse mode, then what else names an element, by error.
        """
        first = ("structure", "reverse mode")

        def rank(row: Row) -> tuple[bool, int, float]:
            place = first.index(row.method) if row.method in first else len(first)
            return row.is_product, place, -row.severity

        return tuple(sorted((row for row in self.rows if not row.ok), key=rank))

    @property
    def worst(self) -> Row:
        """The first of `failures`, or without one the row that came nearest to failing.

        Raises:
          ValueError: there is no row: the subject has no parameters and no input.
        """
        decided = [row for row in self.rows if row.verdict in ("ok", "wrong")] or self.rows
        return (*self.failures, max(decided, key=lambda row: row.severity))[0]

    def __str__(self) -> str:
        return report_text(self)

    def __rich_console__(self, console: Any, options: Any) -> Iterator[Any]:
        return drawn_by_rich(console, report_text(self, options.max_width))

    def to_json(self) -> str:
        """Strict JSON with a schema's name in it: see `fnn.check.reports.encode`."""
        from fnn.check.reports.encode import report_to_json  # it needs the classes of this file

        return report_to_json(self)

    @staticmethod
    def from_json(text: str) -> "Report":
        """The report that `to_json` wrote.

        Raises:
          ValueError: the text is not JSON, or of another schema, or lacks a field.
        """
        from fnn.check.reports.encode import report_from_json

        return report_from_json(text)

    def to_html(self) -> str:
        """One page with everything in it, which loads nothing: see `fnn.check.reports.page`."""
        return report_page(self)

    def raise_if_wrong(self) -> None:
        """Raise `GradientError` with this report as its message, unless the report is ok."""
        if not self.ok:
            raise GradientError(str(self))


def worst_of(rows: Iterable[Row]) -> Row:
    """The one with the largest error."""
    return max(rows, key=lambda row: row.severity)


def _value(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:.17g}"
