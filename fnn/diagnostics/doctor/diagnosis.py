"""What the doctor says: a verdict a line, each with what was found and what to do about it."""

import json
import math
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

from fnn.tables import table

SCHEMA = "fnn.diagnosis/1"

Status = Literal["ok", "sick", "not asked"]


class Verdict(NamedTuple):
    """What one check found."""

    check: str  # gradient, initial loss, …
    status: Status
    found: str  # with numbers; of "not asked", why
    illness: str = ""  # its name, where there is one: dead units, rate too high, …
    path: str = ""  # of the layer or the parameter that it is about
    advice: str = ""  # what to do about it
    value: float | None = None  # what was compared with the limit

    def __str__(self) -> str:
        name = f"{self.check}: {self.illness or self.status}"
        where = f" at {self.path}" if self.path else ""
        return f"{name}{where}; {self.found}" + (f"; {self.advice}" if self.advice else "")


class Diagnosis(NamedTuple):
    """All verdicts, causes before what follows from them; `str()` is a table, and the advice."""

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
        lines = [
            [each.check, each.illness or each.status, each.path, each.found]
            for each in self.verdicts
        ]
        sick = self.sick
        page = [self.said, *table(["check", "verdict", "where", "what was found"], lines, left=4)]
        if sick:
            page += ["", "What to do:"]
            page += [f"  {v.illness}{' at ' + v.path if v.path else ''}: {v.advice}" for v in sick]
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
