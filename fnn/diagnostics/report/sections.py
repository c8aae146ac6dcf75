"""The sections of a report page: titles with HTML, all text of which is escaped."""

import base64
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, is_dataclass
from html import escape
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from fnn.diagnostics.doctor.diagnosis import Diagnosis, Verdict
from fnn.diagnostics.findings import Finding, findings
from fnn.diagnostics.health_results import Health, LayerHealth
from fnn.diagnostics.plots.figure import png
from fnn.diagnostics.plots.text import sparkline
from fnn.diagnostics.statistics import EDGES
from fnn.diagnostics.summary import Summary
from fnn.diagnostics.summary_html import html_table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_DPI = 110  # of pictures in a page: sharp on a phone, a third of the bytes of a print's
_SMALLEST = 0.25  # of its size: what fits a phone is seen whole, and read by zooming
_NEAR_ZERO = 1e-3  # of the largest magnitude
_MARKS = {"sick": "✗ sick", "ok": "✓ ok", "not asked": "– not asked"}


class Section(NamedTuple):
    """A part of a page. The title is plain text, and no other of the page is the same but for case.

    Attributes:
      title: plain text.
      body: HTML.
    """

    title: str
    body: str


def check_sections(given: Iterable[object]) -> None:
    """Refuse what is no section.

    Raises:
      TypeError: saying how a section is made of it.
    """
    for each in given:
        if not isinstance(each, Section):
            raise TypeError(
                "expected sections, such as report.text(title, …) or report.picture(title, figure, …), "
                f"got {type(each).__name__} {each!r:.40}"
            )


def text(title: str, said: object, *, note: str = "") -> Section:
    """The ``str()`` of anything that is a table for the terminal, in its own lines and columns."""
    return Section(title, _note(note) + preformatted(str(said), title))


def table(
    title: str, head: Sequence[str], lines: Sequence[Sequence[str]], *, caption: str = ""
) -> Section:
    """A table; the first cell of a row is its name. The caption is the title, if there is none.

    Raises:
      ValueError: a row has another number of cells than the head.
    """
    return Section(title, scrolling(html_table(caption or title, head, lines, None), title))


def facts(title: str, values: Any, *, note: str = "") -> Section:
    """Names and values: of a mapping, a dataclass or a named tuple, in which others may lie."""
    pairs = "".join(
        f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>"
        for name, value in _flat(values, "")
    )
    return Section(title, _note(note) + (f"<dl>{pairs}</dl>" if pairs else "<p>none</p>"))


def picture(title: str, figure: "Figure", said: str, *, note: str = "") -> Section:
    """A figure, and its text twin for those who do not see it, such as ``plots.confusion_text(…)``.

    Raises:
      TypeError: there is no figure.
      ValueError: there is no text.
    """
    if not said.strip():
        raise ValueError(f"picture: expected the text twin of {title!r}, got an empty text")
    return Section(
        title, _note(note) + with_twin(_image(png(figure, dpi=_DPI), title), title, said)
    )


def with_twin(drawn: str, title: str, said: str) -> str:
    """A picture in HTML, with its text twin to unfold below."""
    twin = preformatted(said, f"{title}, as text")
    return (
        f"<figure>{drawn}<figcaption><details><summary>as text"
        f'<span class="unseen">: {escape(title)}</span></summary>{twin}</details></figcaption></figure>'
    )


def verdicts(found: Diagnosis | Iterable[Verdict | Finding], *, title: str = "Verdicts") -> Section:
    """A line each of what the doctor says, or of `findings`; what is wrong stands first.

    Advice that several lines share is said once, with the first of them.

    Raises:
      ValueError: a status that is none of the doctor's.
    """
    given = found.verdicts if isinstance(found, Diagnosis) else found
    lines = [
        Verdict(each.kind, "sick", f"{each.value:.3g}", each.kind, each.path, each.advice)
        if isinstance(each, Finding)
        else each
        for each in given
    ]
    for line in lines:
        if line.status not in _MARKS:
            said = ", ".join(map(repr, _MARKS))
            raise ValueError(f"verdicts: expected a status of {said}, got {line.status!r}")
    lines.sort(key=lambda line: list(_MARKS).index(line.status))
    told: set[str] = set()
    items = ""
    for line in lines:
        items += _verdict(line._replace(advice="") if line.advice in told else line)
        told.add(line.advice)
    return Section(
        title, f'<ul class="verdicts">{items}</ul>' if items else "<p>Nothing found.</p>"
    )


def _verdict(line: Verdict) -> str:
    where = f" <code>{escape(line.path)}</code>" if line.path else ""
    advice = f'<br><span class="advice">{escape(line.advice)}</span>' if line.advice else ""
    return (
        f'<li class="{line.status.replace(" ", "-")}"><span class="mark">{_MARKS[line.status]}</span> '
        f"<strong>{escape(line.illness or line.check)}</strong>{where}: {escape(line.found)}{advice}</li>"
    )


def summary(found: Summary, *, title: str = "Layers") -> Section:
    """What the network is made of."""
    return Section(
        title, scrolling(found.to_html("Shapes, sizes and operations of each layer"), title)
    )


def health(found: Health, *, title: str = "Health") -> Section:
    """What every layer gives and is told of its gradient, and what is wrong with it."""
    wrong = findings(found)
    marks: dict[str, list[str]] = {}
    for finding in wrong:
        marks.setdefault(finding.path, []).append(finding.kind)
    lines = [[*_health_cells(row), ", ".join(marks.get(row.path, []))] for row in found.rows]
    caption = f"loss {float(found.loss):.4g} on {found.examples} examples"
    said = verdicts(wrong).body if wrong else "<p>Every layer is within its limits.</p>"
    return Section(
        title, said + scrolling(html_table(caption, _HEALTH, lines, None, left=2), title)
    )


def machine(*, title: str = "Versions and machine") -> Section:
    """Where this process runs, and with which versions."""
    from fnn.check.reports.environment import environment  # with all of the checker

    here = environment()._asdict()
    del here["dtype"], here["matmul_precision"]  # of the gradient check alone
    return facts(title, here)


_HEALTH = (
    *("layer", "kind", "mean", "std", "zeros", "gain", "‖dL/dy‖", "gain back", "dead"),
    *("-  values  +", "found"),
)


def _health_cells(row: LayerHealth) -> list[str]:
    y, dy = row.y, row.dy
    count = 0.0 if y is None else float(y.finite + y.nonfinite)
    return [
        row.path or "(network)",
        row.name,
        *(["", "", ""] if y is None else _of_output(y, count)),
        _number(row.forward_gain),
        "" if dy is None else _number(float(dy.norm)),
        _number(row.backward_gain),
        "" if row.dead is None else f"{int(row.dead.sum())} of {row.width}",
        "" if y is None else _histogram(y.histogram),
    ]


def _of_output(y: Any, count: float) -> list[str]:
    return [
        _number(float(y.mean)),
        _number(float(y.deviation)),
        f"{float(y.zeros) / max(count, 1):.0%}",
    ]


def _histogram(counts: Any) -> str:
    """A block for each bin of `Statistics` that can be told from 0, and one for those that cannot.

    These are the bins within a thousandth of the largest magnitude, in the middle.
    """
    counts = np.asarray(counts, np.float64)
    filled = np.flatnonzero(counts)
    if not filled.size:
        return ""
    edges = np.concatenate([[-np.inf], EDGES, [np.inf]])
    size = np.maximum(np.abs(edges[:-1]), np.abs(edges[1:]))  # of each bin, at its outer edge
    largest = min(size[filled].max(), EDGES[-1])
    kept = size > _NEAR_ZERO * largest
    low, high = kept & (edges[1:] <= 0), kept & (edges[:-1] >= 0)
    blocks = np.concatenate([counts[low], [counts[~(low | high)].sum()], counts[high]])
    seen = np.flatnonzero(blocks)
    middle = int(low.sum())
    reach = max(middle - seen[0], seen[-1] - middle)
    return sparkline(blocks[middle - reach : middle + reach + 1], len(blocks))


def _number(value: float) -> str:
    return "" if value != value else f"{value:.3g}"


def scrolling(body: str, name: str) -> str:
    """What may be wider than the page, in a box that scrolls, by keys too."""
    return f'<div class="scroll" role="group" tabindex="0" aria-label="{escape(name)}">{body}</div>'


def preformatted(said: str, name: str) -> str:
    """Text in its own lines and columns."""
    return scrolling(f"<pre>{escape(said)}</pre>", name)


def _note(note: str) -> str:
    return f'<p class="note">{escape(note)}</p>' if note else ""


def _image(picture: bytes, title: str) -> str:
    """As wide as the page, but never so small that zooming would not help: then it scrolls."""
    width, height = (int.from_bytes(picture[i : i + 4], "big") for i in (16, 20))  # of PNG's header
    alt = escape(f"{title}: the text below says the same")
    size = f'width="{width}" height="{height}" style="min-width:{round(_SMALLEST * width)}px"'
    data = base64.b64encode(picture).decode()
    return scrolling(f'<img src="data:image/png;base64,{data}" alt="{alt}" {size}>', title)


def _flat(values: Any, path: str) -> list[tuple[str, str]]:
    """(path, value) of all that is no mapping."""
    if is_dataclass(values) and not isinstance(values, type):
        values = asdict(values)
    elif isinstance(values, tuple) and hasattr(values, "_asdict"):
        values = values._asdict()
    if isinstance(values, Mapping):
        found = []
        for name, value in values.items():
            found += _flat(value, f"{path}.{name}" if path else str(name))
        return found
    return [(path or "value", values if isinstance(values, str) else _plain(values))]


def _plain(value: Any) -> str:
    if isinstance(value, list | tuple) or value is None or isinstance(value, bool):
        try:
            return json.dumps(value, ensure_ascii=False)
        except TypeError:
            return str(value)
    return f"{value:.8g}" if isinstance(value, float) else str(value)
