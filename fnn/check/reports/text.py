"""A report as text: a table that stays within the width of a terminal, then a paragraph a failure.

The three methods that prove a gradient have a column each; of all others one column says how many
agree, and names those that do not. `markup` colours the same text for `rich`, without importing it.
"""

import re
import textwrap
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from fnn.tables import table

if TYPE_CHECKING:
    from fnn.check.networks import NetworkReport
    from fnn.check.reports.report import Branch, Report, Row, Verdict

MAIN_METHODS = ("reverse mode", "forward mode", "numerical")
WIDTH = 120
_SHORTEST = 12  # to which a name in the first columns is cut, where a table is too wide
# (methods with columns of their own, methods named among the others) -> lines of a table
Columns = Callable[[Sequence[str], Sequence[str], int], list[str]]
# Every verdict, the worst first.
RANK: dict["Verdict", int] = {"wrong": 0, "kink": 1, "undecided": 2, "ok": 3}
# Words of the text and how rich draws them; the order matters where they overlap.
_STYLES = (
    (r"(?m)^-[- ]+$", "dim"),
    (r"(?m)(?:\S*(?:\d|:|nan|inf) )?WRONG\b", "bold red"),
    (r"\bundecided\b", "yellow"),
    (r"\bkink\b", "cyan"),
    (r"(?:(?<=: )|(?<=\d )|(?<=  ))ok\b", "green"),
    (r"(?m)^  likely: .*$", "bold"),
    (r"(?m)^  (?:asked|also): .*(?:\n    .*)*$", "dim"),
)


def report_text(report: "Report", width: int = WIDTH) -> str:
    """The report of one subject: verdict, table, failures, what is undecided, branches."""
    leaves = by_leaf(report.rows)

    def columns(main: Sequence[str], others: Sequence[str], named: int) -> list[str]:
        lines = [
            [leaf, *(method_cell(rows, m) for m in main), *_others_cell(rows, others, named)]
            for leaf, rows in leaves.items()
        ]
        return _fitted(["leaf", *main, *(["others"] if others else [])], lines, 1, width)

    return "\n".join(
        [
            f"{report.name}: {summary(report.ok, report.rows)}",
            *_narrowed(columns, report.rows, width),
            *failure_section(report.failures),
            *(f"\n{row}{_also(same)}" for row, *same in _open(report.rows)),
            *_branch_section(report.branches),
        ]
    )


def network_text(network: "NetworkReport", width: int = WIDTH) -> str:
    """The report of a network: one line a layer, then the failures of all of them."""
    rows = [row for entry in network.entries for row in entry.report.rows]

    def columns(main: Sequence[str], others: Sequence[str], named: int) -> list[str]:
        lines = [
            [
                entry.path,
                entry.kind,
                f"{entry.parameters:,}",
                *(method_cell(entry.report.rows, m) for m in main),
                *_others_cell(entry.report.rows, others, named),
                "ok" if entry.report.ok else "WRONG",
            ]
            for entry in network.entries
        ]
        head = ["layer", "kind", "parameters", *main, *(["others"] if others else []), "verdict"]
        return _fitted(head, lines, 2, width)

    page = [f"gradients: {summary(network.ok, rows)}", *_narrowed(columns, rows, width)]
    for entry in network.entries:
        page += failure_section(entry.report.failures, f"{entry.path} ({entry.kind}) ")
    found = [
        f"  {entry.path} {first.path}: {_names([first, *same])}, {first.verdict}"
        for entry in network.entries
        for first, *same in _open(entry.report.rows)
    ]
    page += ["\nno verdict:", *found] if found else []
    page += _branch_section([b for entry in network.entries for b in entry.report.branches])
    return "\n".join(page)


def markup(text: str) -> str:
    """The text in rich's console markup, verdicts in colour."""
    text = re.sub(r"(\\*)\[(?=[a-z#/@])", r"\1\1\\[", text)  # what a layer is called is no tag
    for pattern, style in _STYLES:
        text = re.sub(pattern, rf"[{style}]\g<0>[/]", text)
    return text


def drawn_by_rich(console: Any, text: str) -> Iterator[Any]:
    """What a report's `__rich_console__` yields: the text in colour, folded at the console's width."""
    yield console.render_str(markup(text), emoji=False, highlight=False)


def summary(ok: bool, rows: Sequence["Row"]) -> str:
    """The first line's verdict."""
    count = {verdict: sum(row.verdict == verdict for row in rows) for verdict in RANK}
    if not ok:
        return f"WRONG, {count['wrong']} of {len(rows)} comparisons"
    if not rows:
        return "ok, nothing to compare"
    noted = [f"{n} {v}" for v in ("kink", "undecided") if (n := count[v])]
    return ", ".join([f"ok, {count['ok']} comparisons agree", *noted])


def cell(row: "Row") -> str:
    """A row in the space of a table cell: its relative error, marked where that is too large."""
    if row.verdict in ("undecided", "kink"):
        return row.verdict
    if isinstance(row.hand, str):
        return "ok" if row.ok else "WRONG"
    return f"{row.relative:.1e}" + ("" if row.ok else " WRONG")


def method_cell(rows: Iterable["Row"], method: str) -> str:
    """The cell of the worst row of one method; one with a verdict, where there is any."""
    found = [row for row in rows if row.method == method]
    return cell(min(found, key=nearest_to_failure)) if found else ""


def verdict_of(rows: Iterable["Row"], method: str) -> "Verdict | None":
    """The worst verdict of one method; None where it said nothing."""
    return min(
        (row.verdict for row in rows if row.method == method), key=RANK.__getitem__, default=None
    )


def by_leaf(rows: Iterable["Row"]) -> dict[str, list["Row"]]:
    """The rows of each leaf, in order."""
    leaves: dict[str, list[Row]] = {}
    for row in rows:
        leaves.setdefault(row.path, []).append(row)
    return leaves


def failure_section(failures: Sequence["Row"], prefix: str = "") -> list[str]:
    """One paragraph for each leaf with a failure: its first, and which methods found it too."""
    return [f"\n{prefix}{first}{_also(others)}" for first, *others in by_leaf(failures).values()]


def _narrowed(columns: Columns, rows: Iterable["Row"], width: int) -> list[str]:
    """The table with as many methods in columns of their own as the width has room for."""
    methods = list(dict.fromkeys(row.method for row in rows))
    main = [m for m in MAIN_METHODS if m in methods]
    drawn: list[str] = []
    for shown, named in ((3, 2), (3, 1), (3, 0), (2, 0), (1, 0)):
        drawn = columns(main[:shown], [m for m in methods if m not in main[:shown]], named)
        if max(map(len, drawn)) <= width:
            break
    return drawn


def _fitted(head: Sequence[str], lines: Sequence[list[str]], left: int, width: int) -> list[str]:
    """The table; where it is too wide, with the beginnings of the longest names cut off."""
    drawn = table(head, lines, left)
    excess = max(map(len, drawn)) - width
    rooms = [max((len(line[i]) for line in lines), default=0) for i in range(left)]
    while excess > 0 and max(rooms) > _SHORTEST:
        rooms[rooms.index(max(rooms))] -= 1
        excess -= 1
    cut = [[*map(_end, line[:left], rooms), *line[left:]] for line in lines]
    return table(head, cut, left)


def _end(text: str, room: int) -> str:
    return text if len(text) <= room else "…" + text[len(text) - room + 1 :]


def _others_cell(rows: Sequence["Row"], methods: Sequence[str], named: int) -> list[str]:
    """What the methods without a column found: the first that do not agree by name, then counts."""
    if not methods:
        return []
    found = [(verdict, m) for m in methods if (verdict := verdict_of(rows, m)) is not None]
    verdicts = sorted(found, key=lambda pair: RANK[pair[0]])
    open_or_wrong = [pair for pair in verdicts if pair[0] != "ok"]
    said = [f"{method} {_word(verdict)}" for verdict, method in open_or_wrong[:named]]
    rest = [verdict for verdict, _ in verdicts[len(said) :]]
    return [", ".join([*said, *(f"{n} {_word(v)}" for v in RANK if (n := rest.count(v)))])]


def _word(verdict: "Verdict") -> str:
    return "WRONG" if verdict == "wrong" else verdict


def nearest_to_failure(row: "Row") -> tuple[int, float]:
    """The key of which the smallest row stands for several in one cell."""
    rank = {"wrong": 0, "ok": 1, "kink": 2, "undecided": 3}
    return rank[row.verdict], -row.severity


def _open(rows: Iterable["Row"]) -> list[list["Row"]]:
    """The rows without a verdict, together where one leaf has several of a kind."""
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        if row.verdict in ("kink", "undecided"):
            groups.setdefault((row.path, row.verdict), []).append(row)
    return list(groups.values())


def _also(rows: Sequence["Row"]) -> str:
    """The last line of a paragraph: what other methods say of the same leaf."""
    if not rows:
        return ""
    found = ", ".join(f"{row.method} {_brief(row)}" for row in rows)
    return "\n" + textwrap.fill(f"  also: {found}", WIDTH, subsequent_indent="    ")


def _brief(row: "Row") -> str:
    return row.verdict if row.verdict in ("kink", "undecided") else f"{row.relative:.1e}"


def _names(rows: Iterable["Row"]) -> str:
    return ", ".join(dict.fromkeys(row.method for row in rows))


def _branch_section(branches: Iterable["Branch"]) -> list[str]:
    found = [
        f"  {branch.source}: {branch.operation}, {branch.missing}"
        + (f"; reached by {branch.reached_by}" if branch.reached_by else "")
        for branch in branches
    ]
    return ["\nbranches that no probe reached:", *found] if found else []
