"""A report as one HTML page: everything is in it, it loads nothing and runs no script.

The verdict first, then each failure with both values and the likely fault, then the grid of leaf by
method, coloured by the error in units of what is tolerated, what has no verdict, the branches that no
probe reached, every comparison in full, and where the check ran. Light or dark as the reader's system is.
"""

import math
from collections.abc import Iterable, Sequence
from html import escape
from importlib.resources import files
from typing import TYPE_CHECKING

from fnn.check.reports.environment import Environment, environment
from fnn.check.reports.text import (
    MAIN_METHODS,
    RANK,
    by_leaf,
    cell,
    method_cell,
    nearest_to_failure,
    summary,
    verdict_of,
)

if TYPE_CHECKING:
    from fnn.check.networks import NetworkReport
    from fnn.check.reports.report import Branch, Report, Row

_SHADES = {"ok": (1e-3, 1e-1), "wrong": (1e2, 1e6)}  # of severity, where a colour deepens
_LEGEND = (
    ("ok", 0, "under 1/1000 of what is tolerated"),
    ("ok", 1, "under 1/10"),
    ("ok", 2, "tolerated"),
    ("wrong", 0, "wrong"),
    ("wrong", 1, "over 100 times what is tolerated"),
    ("wrong", 2, "over a million times, or not a number"),
    ("kink", 0, "not differentiable here; the gradient is a convention's"),
    ("undecided", 0, "undecided: the method cannot tell here"),
)


def report_page(report: "Report") -> str:
    """The page of one subject."""
    body = [
        _verdict(report.name, report.ok, report.rows, len(by_leaf(report.rows))),
        _failures([("", row) for row in report.failures]),
        _section("Leaf by method", _grid(by_leaf(report.rows)), _legend()),
        *_details([("", report)]),
        _origin(report.environment or environment(), report.seed),
    ]
    return _page(report.name, body)


def network_page(network: "NetworkReport") -> str:
    """The page of a network: layer by method, and below it each layer's own grid."""
    reports = [entry.report for entry in network.entries]
    rows = [row for report in reports for row in report.rows]
    name = network.entries[-1].kind if network.entries else "network"
    named = [(f"{entry.path} · {entry.kind}", entry.report) for entry in network.entries]
    layers = [
        f'<details{"" if report.ok else " open"}><summary><span class="mark {_sign(report.ok)}">'
        f"{'ok' if report.ok else 'WRONG'}</span> {escape(title)}</summary>"
        f"{_grid(by_leaf(report.rows))}</details>"
        for title, report in named
    ]
    grid = {entry.path: list(entry.report.rows) for entry in network.entries}
    kinds = {
        entry.path: f"{entry.kind}, {entry.parameters:,} parameters" for entry in network.entries
    }
    here = next((r.environment for r in reports if r.environment), None) or environment()
    body = [
        _verdict(name, network.ok, rows, sum(len(by_leaf(report.rows)) for report in reports)),
        _failures([(title, row) for title, report in named for row in report.failures]),
        _section("Layer by method", _grid(grid, "layer", kinds), _legend()),
        _section("Each layer, leaf by method", *layers),
        *_details(named),
        _origin(here, reports[0].seed if reports else None),
    ]
    return _page(name, body)


def _page(title: str, body: Iterable[str]) -> str:
    style = files("fnn.check.reports").joinpath("page.css").read_text("utf-8")
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f"<title>{escape(title)}: gradient check</title>\n<style>\n{style}</style></head>\n"
        "<body><main>\n" + "\n".join(part for part in body if part) + "\n</main></body></html>\n"
    )


def _verdict(name: str, ok: bool, rows: Sequence["Row"], leaves: int) -> str:
    methods = len({row.method for row in rows})
    return (
        f'<header class="{_sign(ok)}"><p class="eyebrow">gradient check</p><h1>{escape(name)}</h1>'
        f'<p class="verdict">{escape(summary(ok, rows))}</p>'
        f'<p class="scope">{methods} methods, {leaves} leaves</p></header>'
    )


def _sign(ok: bool) -> str:
    return "right" if ok else "wrong"


def _section(title: str, *parts: str, note: str = "") -> str:
    said = f'<p class="note">{escape(note)}</p>' if note else ""
    return f"<section><h2>{escape(title)}</h2>{said}{''.join(parts)}</section>"


def _failures(failures: Sequence[tuple[str, "Row"]]) -> str:
    """A card for each leaf that has one: what names an element first, then what agrees with it."""
    if not failures:
        return ""
    groups: dict[tuple[str, str], list[Row]] = {}
    for owner, row in failures:
        groups.setdefault((owner, row.path), []).append(row)
    cards = [_card(owner, first, others) for (owner, _), (first, *others) in groups.items()]
    return _section("What is wrong", *cards)


def _card(owner: str, row: "Row", others: Sequence["Row"]) -> str:
    likely = f'<p class="likely">Likely: {escape(row.likely)}</p>' if row.likely else ""
    also = "".join(
        f"<li>{escape(other.method)} <b>{escape(cell(other))}</b></li>" for other in others
    )
    facts = [
        ("method", row.method),
        ("index", "" if row.element is None else str(row.element)),
        ("hand", _value(row.hand)),
        ("reference", _value(row.reference)),
        ("relative error", f"{row.relative:.3g}"),
        ("absolute error", f"{row.absolute:.3g}"),
        ("asked", row.predicate),
    ]
    place = f'<span class="owner">{escape(owner)}</span> ' if owner else ""
    return (
        f'<article class="failure"><h3>{place}<code>{escape(row.path)}</code></h3>{likely}'
        f"{_facts(facts)}" + (f'<ul class="also">{also}</ul>' if also else "") + "</article>"
    )


def _facts(facts: Iterable[tuple[str, str]]) -> str:
    pairs = "".join(
        f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in facts if value
    )
    return f"<dl>{pairs}</dl>"


def _grid(
    lines: dict[str, list["Row"]], corner: str = "leaf", kinds: dict[str, str] | None = None
) -> str:
    """Verdicts by line and method; the worst row of each, in its colour."""
    every = [row for rows in lines.values() for row in rows]
    methods = sorted(dict.fromkeys(row.method for row in every), key=lambda m: _place(m, every))
    head = "".join(f'<th scope="col">{escape(method)}</th>' for method in methods)
    body = "".join(
        f'<tr><th scope="row"><code>{escape(name)}</code>'
        + (f'<span class="kind">{escape(kinds[name])}</span>' if kinds else "")
        + f"</th>{''.join(_grid_cell(rows, method) for method in methods)}</tr>"
        for name, rows in lines.items()
    )
    return (
        f'<div class="scroll"><table class="grid"><thead><tr><th scope="col">{corner}</th>{head}</tr>'
        f"</thead><tbody>{body}</tbody></table></div>"
    )


def _place(method: str, rows: Sequence["Row"]) -> tuple[int, int]:
    """Where a column stands: the main methods first, then what has anything to say but ok."""
    if method in MAIN_METHODS:
        return -1, MAIN_METHODS.index(method)
    return RANK[verdict_of(rows, method) or "ok"], 0


def _grid_cell(rows: Sequence["Row"], method: str) -> str:
    found = [row for row in rows if row.method == method]
    if not found:
        return '<td class="none"></td>'
    worst = min(found, key=nearest_to_failure)
    title = escape(f"{worst.path}: {worst.predicate}", quote=True)
    said = escape(method_cell(rows, method))
    return f'<td class="{worst.verdict}-{_shade(worst)}" title="{title}">{said}</td>'


def _shade(row: "Row") -> int:
    return sum(row.severity > bound for bound in _SHADES.get(row.verdict, ()))


def _legend() -> str:
    items = "".join(f'<li><i class="{v}-{shade}"></i>{said}</li>' for v, shade, said in _LEGEND)
    return f'<ul class="legend">{items}</ul>'


def _details(reports: Sequence[tuple[str, "Report"]]) -> list[str]:
    """What has no verdict, the branches that were not reached, and every comparison in full."""
    pairs = [(owner, row) for owner, report in reports for row in report.rows]
    open_rows = [(owner, row) for owner, row in pairs if row.verdict in ("kink", "undecided")]
    branches = [branch for _, report in reports for branch in report.branches]
    every = f"<details><summary>{len(pairs)} comparisons</summary>{_row_table(pairs)}</details>"
    return [
        _section("No verdict", _row_table(open_rows), note=_OPEN) if open_rows else "",
        _section("Branches that no probe reached", _branch_table(branches)) if branches else "",
        _section("Every comparison", every),
    ]


_OPEN = (
    "No failures. At a kink the function has no derivative and the gradient is one that a convention "
    "chooses; where a method is undecided, its own error estimate is larger than what it would test."
)


def _row_table(pairs: Sequence[tuple[str, "Row"]]) -> str:
    named = any(owner for owner, _ in pairs)
    head = [
        *(["layer"] if named else []),
        *(
            "leaf",
            "method",
            "verdict",
            "relative",
            "tolerance",
            "index",
            "hand",
            "reference",
            "asked",
        ),
    ]
    lines = [
        [
            *([escape(owner)] if named else []),
            f"<code>{escape(row.path)}</code>",
            escape(row.method),
            f'<span class="mark {row.verdict}">{row.verdict}</span>',
            f"{row.relative:.2g}",
            f"{row.tolerance:.2g}",
            "" if row.element is None else escape(str(row.element)),
            escape(_value(row.hand)),
            escape(_value(row.reference)),
            escape(" · ".join(said for said in (row.predicate, row.likely) if said)),
        ]
        for owner, row in pairs
    ]
    return _table(head, lines)


def _branch_table(branches: Sequence["Branch"]) -> str:
    lines = [
        [f"<code>{escape(b.source)}</code>", *map(escape, (b.operation, b.missing, b.reached_by))]
        for b in branches
    ]
    return _table(["source", "operation", "side not reached", "an input that reaches it"], lines)


def _table(head: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """Cells are HTML already."""
    names = "".join(f'<th scope="col">{escape(name)}</th>' for name in head)
    body = "".join(f"<tr>{''.join(f'<td>{text}</td>' for text in line)}</tr>" for line in lines)
    return (
        f'<div class="scroll"><table class="rows"><thead><tr>{names}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def _origin(where: Environment, seed: int | None) -> str:
    facts = [(name.replace("_", " "), value) for name, value in where._asdict().items()]
    seeds = [] if seed is None else [("seed", str(seed))]
    return _section("Where", _facts([*facts, *seeds]))


def _value(value: float | str) -> str:
    if isinstance(value, str):
        return value
    return f"{value:.17g}" if math.isfinite(value) else str(value)
