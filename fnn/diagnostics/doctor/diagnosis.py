"""What the doctor says: a verdict a line, each with what was found and what to do about it."""

import json
import math
import shutil
import textwrap
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

from fnn.tables import table

SCHEMA = "fnn.diagnosis/1"

_WIDTH = 120  # characters, where there is no terminal to ask
_FEWEST = 48  # of a line and of what was found, however narrow it is

Status = Literal["ok", "sick", "not asked"]


class Verdict(NamedTuple):
    """What one check found.

    Attributes:
      check: such as gradient or initial loss.
      status: sick, ok, or not asked.
      found: what was seen, with numbers; of "not asked", why.
      illness: its name, where there is one, such as dead units or rate too high.
      path: of the layer or the parameter that it is about.
      advice: what to do about it.
      value: what was compared with the limit.
    """

    check: str
    status: Status
    found: str
    illness: str = ""
    path: str = ""
    advice: str = ""
    value: float | None = None

    def __str__(self) -> str:
        name = f"{self.check}: {self.illness or self.status}"
        where = f" at {self.path}" if self.path else ""
        return f"{name}{where}; {self.found}" + (f"; {self.advice}" if self.advice else "")


class Diagnosis(NamedTuple):
    """All verdicts, causes before what follows from them; `str()` is a table, and the advice.

    Attributes:
      verdicts: one or more of each check.
    """

    verdicts: tuple[Verdict, ...]

    @property
    def ok(self) -> bool:
        """Whether nothing is sick. What was not asked does not count."""
        return not self.sick

    @property
    def sick(self) -> tuple[Verdict, ...]:
        """The verdicts that need doing something about."""
        return tuple(verdict for verdict in self.verdicts if verdict.status == "sick")

    @property
    def illnesses(self) -> tuple[str, ...]:
        """Their names, each once."""
        return tuple(dict.fromkeys(verdict.illness for verdict in self.sick))

    @property
    def said(self) -> str:
        """The diagnosis in one line."""
        if self.sick:
            return f"sick: {', '.join(self.illnesses)}"
        return f"healthy: {sum(v.status == 'ok' for v in self.verdicts)} checks found nothing"

    def __str__(self) -> str:
        width = shutil.get_terminal_size((_WIDTH, 24)).columns
        head = ["check", "verdict", "where", "what was found"]
        lines = [
            [each.check, each.illness or each.status, each.path, each.found]
            for each in self.verdicts
        ]
        before = sum(
            max(map(len, column)) + 2 for column in list(zip(head, *lines, strict=True))[:3]
        )
        room = max(width - before, _FEWEST)
        short = [[*cells, _one_line(found, room)] for *cells, found in lines]
        page = [self.said, *table(head, short, left=4)]
        details = [
            (each, each.found)
            for each, (*_, cell) in zip(self.verdicts, short, strict=True)
            if cell != each.found
        ]
        for title, told in (
            ("In full:", [(_named(each), found) for each, found in details]),
            ("What to do:", [(_named(each), each.advice) for each in self.sick]),
        ):
            if told:
                page += ["", title]
            for name, text in told:
                page += _wrapped(f"{name}: {text}", max(width, _FEWEST))
        return "\n".join(page)

    def to_json(self) -> str:
        """Strict JSON: ``{"schema", "ok", "illnesses", "verdicts": [{"check", "status", …}]}``.

        A value that is not finite is one of the words "NaN", "Infinity" and "-Infinity".
        """
        page = {
            "schema": SCHEMA,
            "ok": self.ok,
            "illnesses": list(self.illnesses),
            "verdicts": [{**v._asdict(), "value": _number(v.value)} for v in self.verdicts],
        }
        return json.dumps(page, indent=1, ensure_ascii=False, allow_nan=False)

    def to_html(self, title: str = "Diagnosis", asked: Mapping[str, Any] | None = None) -> str:
        """One HTML page that loads nothing: the verdicts, sick ones first, and where they were made.

        Args:
          title: of the page, such as the network's name; plain text.
          asked: what the doctor was given, by name, to be told on the page.
        """
        from fnn.diagnostics import report  # which reads the types of this module

        sections = [report.verdicts(self)]
        if asked:
            sections.append(report.facts("What was asked", asked))
        status = report.Status("healthy" if self.ok else "sick", self.said)
        return report.page(title, [*sections, report.machine()], status=status)


def _named(verdict: Verdict) -> str:
    name = verdict.illness or f"{verdict.check}, {verdict.status}"
    return f"{name} at {verdict.path}" if verdict.path else name


def _one_line(text: str, room: int) -> str:
    """The first line, cut to the room that there is, with … for what is left out."""
    first, _, more = text.partition("\n")
    if len(first) > room or more:
        return first[: room - 1].rstrip() + "…"
    return first


def _wrapped(text: str, width: int) -> list[str]:
    """The lines of a paragraph that hangs under its first; those that are in the text stay lines."""
    lines: list[str] = []
    for line in text.split("\n"):
        indent = "    " if lines else "  "
        lines += textwrap.wrap(
            line,
            width,
            initial_indent=indent,
            subsequent_indent="    ",
            break_long_words=False,
            break_on_hyphens=False,
        )
    return lines


def ok(check: str, found: str, value: float | None = None) -> Verdict:
    """Nothing wrong."""
    return Verdict(check, "ok", found, value=value)


def not_asked(check: str, why: str) -> Verdict:
    """It could not be looked at, or nobody wanted it."""
    return Verdict(check, "not asked", why)


def sick(
    check: str,
    illness: str,
    found: str,
    advice: str,
    *,
    path: str = "",
    value: float | None = None,
) -> Verdict:
    """Something wrong, under its name."""
    return Verdict(check, "sick", found, illness, path, advice, value)


def _number(value: float | None) -> float | str | None:
    if value is None or math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
