"""Reports as JSON: strict, so that any reader takes it, and whole, so that the report comes back.

    {"schema": "fnn.check/1", "kind": "report", "ok": false, "counts": {"ok": 17, "wrong": 1, …},
     "environment": {"jax": …}, "name": …, "seed": …, "rows": [{"method": …, "path": …}], "branches": […]}

A network has ``"kind": "network"``, and instead of name, seed, rows and branches a list ``entries`` of
``{"path", "kind", "parameters", "ok", "name", "seed", "rows", "branches"}``. JSON has no NaN and no
infinities: they are the strings "NaN", "Infinity" and "-Infinity". `ok` and `counts` are for readers; on
the way back they are formed from the rows. What changes a field's meaning changes the schema's number.
"""

import json
import math
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from fnn.check.networks import Entry, NetworkReport
from fnn.check.reports.environment import Environment, environment
from fnn.check.reports.report import Branch, Report, Row

SCHEMA = "fnn.check/1"
Fields = dict[str, Any]
Read = TypeVar("Read")

_NOT_FINITE = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
_VERDICTS = ("ok", "wrong", "kink", "undecided")


def report_to_json(report: Report) -> str:
    """The JSON of one subject's report."""
    here = report.environment or environment()
    return _dumped("report", report.ok, report.rows, here, _report_fields(report))


def network_to_json(network: NetworkReport) -> str:
    """The JSON of a network's report; the environment is that of its first entry."""
    reports = [entry.report for entry in network.entries]
    here = next((r.environment for r in reports if r.environment), None) or environment()
    entries = [
        {
            "path": entry.path,
            "kind": entry.kind,
            "parameters": entry.parameters,
            "ok": entry.report.ok,
            **_report_fields(entry.report),
        }
        for entry in network.entries
    ]
    rows = [row for report in reports for row in report.rows]
    return _dumped("network", network.ok, rows, here, {"entries": entries})


def report_from_json(text: str) -> Report:
    """The inverse of `report_to_json`; ValueError where there is none."""
    return _read(text, "report", _report)


def network_from_json(text: str) -> NetworkReport:
    """The inverse of `network_to_json`; ValueError where there is none."""

    def network(fields: Fields, where: Environment) -> NetworkReport:
        return NetworkReport(
            tuple(
                Entry(entry["path"], entry["kind"], entry["parameters"], _report(entry, where))
                for entry in fields["entries"]
            )
        )

    return _read(text, "network", network)


def _dumped(kind: str, ok: bool, rows: Sequence[Row], where: Environment, body: Fields) -> str:
    counts = {verdict: sum(row.verdict == verdict for row in rows) for verdict in _VERDICTS}
    head = {"schema": SCHEMA, "kind": kind, "ok": ok, "counts": counts}
    page = {**head, "environment": where._asdict(), **body}
    return json.dumps(page, indent=1, ensure_ascii=False, allow_nan=False)


def _report_fields(report: Report) -> Fields:
    return {
        "name": report.name,
        "seed": report.seed,
        "rows": [
            {name: _number_or_words(value) for name, value in row._asdict().items()}
            for row in report.rows
        ],
        "branches": [branch._asdict() for branch in report.branches],
    }


def _number_or_words(value: Any) -> Any:
    """A field as JSON can hold it: Python's numbers for NumPy's, words for what is not finite."""
    if isinstance(value, tuple):
        return [int(i) for i in value]
    if hasattr(value, "item"):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return next(w for w, x in _NOT_FINITE.items() if x == value or (x != x and value != value))
    return value


def _read(text: str, kind: str, build: Callable[[Fields, Environment], Read]) -> Read:
    fields = json.loads(text)
    found = (fields.get("schema"), fields.get("kind")) if isinstance(fields, dict) else None
    if found != (SCHEMA, kind):
        raise ValueError(
            f"expected JSON of the schema {SCHEMA!r} and the kind {kind!r}, got {found}: "
            "read it with the class and the version of fnn that wrote it"
        )
    try:
        return build(fields, Environment(**fields["environment"]))
    except (KeyError, TypeError) as error:
        raise ValueError(f"expected every field of the schema {SCHEMA!r}: {error}") from error


def _report(fields: Fields, where: Environment) -> Report:
    return Report(
        name=fields["name"],
        rows=tuple(_row(row) for row in fields["rows"]),
        branches=tuple(Branch(**branch) for branch in fields["branches"]),
        seed=fields["seed"],
        environment=where,
    )


def _row(fields: Fields) -> Row:
    numbers = ("relative", "absolute", "hand", "reference", "tolerance")
    read = {name: _NOT_FINITE.get(fields[name], fields[name]) for name in numbers}
    element = fields["element"]
    return Row(**{**fields, **read, "element": None if element is None else tuple(element)})
