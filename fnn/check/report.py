"""What a check found: a row for each method and leaf, and a page that a person can read."""

import math
from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple

Verdict = Literal["ok", "wrong", "undecided"]


class GradientError(AssertionError):
    """A backward pass is not the transpose of its forward pass's derivative."""


class Row(NamedTuple):
    """One method's finding for one leaf, on the probe for which it was worst.

    ``undecided`` says that the method cannot tell here, most often because the function is not
    differentiable at this point or close to it. It is no failure; the report says why.
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
        where += ", undecided" if self.verdict == "undecided" else ""
        return (
            f"{self.path}: {self.method}{where}\n"
            f"  hand {_value(self.hand)}, reference {_value(self.reference)}\n"
            f"  relative error {self.relative:.1e}, absolute error {self.absolute:.1e}\n"
            f"  asked: {self.predicate}"
        )


class Report(NamedTuple):
    """All rows of one subject."""

    name: str
    rows: tuple[Row, ...]

    @property
    def ok(self) -> bool:
        """Whether every row is."""
        return all(row.ok for row in self.rows)

    @property
    def failures(self) -> tuple[Row, ...]:
        """The rows that are not ok: those that name an element or a structure first, then by error."""
        wrong = [row for row in self.rows if not row.ok]
        return tuple(sorted(wrong, key=lambda row: (row.is_product, -row.severity)))

    @property
    def worst(self) -> Row:
        """The first of `failures`, or without one the row that came nearest to failing.

        Raises:
          ValueError: there is no row: the subject has no parameters and no input.
        """
        decided = [row for row in self.rows if row.verdict != "undecided"] or self.rows
        return (*self.failures, max(decided, key=lambda row: row.severity))[0]

    def __str__(self) -> str:
        head = f"{self.name}: {summary(self.ok, len(self.rows), len(self.failures))}"
        methods = list(dict.fromkeys(row.method for row in self.rows))
        leaves = list(dict.fromkeys(row.path for row in self.rows))
        found = {(row.path, row.method): cell(row) for row in self.rows}
        lines = [[leaf, *(found.get((leaf, method), "") for method in methods)] for leaf in leaves]
        undecided = [f"\n{row}" for row in self.rows if row.verdict == "undecided"]
        page = [
            head,
            *table(["leaf", *methods], lines),
            *failure_section(self.failures),
            *undecided,
        ]
        return "\n".join(page)

    def raise_if_failed(self) -> None:
        """Raise `GradientError` with this report as its message, unless the report is ok."""
        if not self.ok:
            raise GradientError(str(self))


def worst_of(rows: Iterable[Row]) -> Row:
    """The one with the largest error."""
    return max(rows, key=lambda row: row.severity)


def cell(row: Row) -> str:
    """A row in the space of a table cell: its relative error, marked where that is too large."""
    if row.verdict == "undecided":
        return "undecided"
    if isinstance(row.hand, str):
        return "ok" if row.ok else "WRONG"
    return f"{row.relative:.1e}" + ("" if row.ok else " WRONG")


def summary(ok: bool, rows: int, failures: int) -> str:
    """The first line's verdict."""
    return f"ok, {rows} comparisons agree" if ok else f"WRONG, {failures} of {rows} comparisons"


def failure_section(failures: Sequence[Row], prefix: str = "") -> list[str]:
    """One paragraph for each leaf with a failure: its first, and which methods found it too."""
    by_leaf: dict[str, list[Row]] = {}
    for row in failures:
        by_leaf.setdefault(row.path, []).append(row)
    paragraphs = []
    for first, *others in by_leaf.values():
        found = ", ".join(f"{row.method} {row.relative:.1e}" for row in others)
        paragraphs.append(f"\n{prefix}{first}" + (f"\n  also: {found}" if others else ""))
    return paragraphs


def table(head: Sequence[str], lines: Sequence[Sequence[str]], left: int = 1) -> list[str]:
    """Aligned columns under a rule: the first `left` of them flush left, the others flush right."""
    widths = [max(map(len, column)) for column in zip(head, *lines, strict=True)]

    def line(cells: Sequence[str]) -> str:
        padded = (
            text.ljust(width) if i < left else text.rjust(width)
            for i, (text, width) in enumerate(zip(cells, widths, strict=True))
        )
        return "  ".join(padded).rstrip()

    return [line(head), "  ".join("-" * width for width in widths), *map(line, lines)]


def _value(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:.17g}"
