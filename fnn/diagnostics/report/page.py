"""The page as a whole: one file that loads nothing, for phones and desks, light and dark."""

import os
from collections.abc import Iterable
from datetime import UTC, datetime
from html import escape
from importlib.resources import files
from pathlib import Path
from typing import Literal, NamedTuple

from fnn.diagnostics.report.sections import Section, check_sections


class Status(NamedTuple):
    """How far the run is, or what the doctor says of the network.

    Attributes:
      kind: the colour of the head of the page.
      said: one line, plain text.
    """

    kind: Literal["running", "finished", "stopped", "healthy", "sick"]
    said: str


FINISHED = Status("finished", "finished")

# A browser keeps `history.state` when it loads a page again: what was unfolded stays so.
_REFRESH = """
const pause = document.getElementById("pause"), folds = [...document.querySelectorAll("details")];
const name = fold => fold.querySelector("summary").textContent, kept = history.state || {};
pause.checked = Boolean(kept.paused);
for (const fold of folds) fold.open = (kept.open || []).includes(name(fold));
const keep = () => history.replaceState(
  {paused: pause.checked, open: folds.filter(fold => fold.open).map(name)}, "");
pause.addEventListener("change", keep);
for (const fold of folds) fold.addEventListener("toggle", keep);
setInterval(() => { if (!pause.checked && !document.hidden) location.reload(); }, MILLISECONDS);
"""


def page(
    title: str,
    sections: Iterable[Section],
    *,
    status: Status = FINISHED,
    refresh: float | None = None,
    when: datetime | None = None,
) -> str:
    """A whole HTML page of the sections, in their order, with a list of links to them.

    It forbids the browser to load anything, and has no script but, with `refresh`, the few lines that
    load it again; a box on the page stops that, since readers may need longer. Without scripts, the
    browser refreshes by itself.

    Args:
      title: of the run; plain text.
      sections: see `fnn.diagnostics.report`.
      status: what the head of the page says of the run.
      refresh: seconds after which a browser loads the page again; None for a page that stays.
      when: the time that the page tells; None for now.

    Raises:
      TypeError: one that is no section.
      ValueError: two sections of one title, which a reader of screens could not tell apart, or a time
        that is not positive.
    """
    sections = list(sections)
    check_sections(sections)
    titles = [section.title.casefold() for section in sections]
    twice = next((each.title for i, each in enumerate(sections) if titles[i] in titles[:i]), None)
    if twice is not None:
        raise ValueError(f"page: expected one section of each title, got two of {twice!r}")
    if refresh is not None and not refresh > 0:
        raise ValueError(f"page: expected refresh in seconds above 0, or None, got {refresh}")
    style = files("fnn.diagnostics.report").joinpath("page.css").read_text("utf-8")
    at = (when or datetime.now(UTC)).strftime("%Y-%m-%d %H:%M:%S %Z").strip()
    links = "".join(
        f'<li><a href="#s{i}">{escape(each.title)}</a></li>' for i, each in enumerate(sections)
    )
    body = "\n".join(
        f'<section id="s{i}" aria-labelledby="h{i}"><h2 id="h{i}">{escape(each.title)}</h2>'
        f"{each.body}</section>"
        for i, each in enumerate(sections)
    )
    stop = '<label><input type="checkbox" id="pause"> pause refreshing</label>'
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8">\n{_policy(refresh)}'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f"{_without_script(refresh)}<title>{escape(title)}: {status.kind}</title>\n"
        f"<style>\n{style}</style></head>\n<body><main>\n"
        f'<header class="{status.kind}"><h1>{escape(title)}</h1>'
        f'<p class="status">{escape(status.said)}</p><p class="when">written {at}</p>'
        f"{stop if refresh else ''}</header>\n"
        f'<nav aria-label="Sections"><ul>{links}</ul></nav>\n{body}\n</main>{_script(refresh)}'
        "</body></html>\n"
    )


def write(path: str | os.PathLike[str], text: str) -> None:
    """Put a text in the place of a file at once: who reads it sees the old one or the new one, whole.

    Folders are made.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    partial.write_text(text, "utf-8")
    partial.replace(path)


def _policy(refresh: float | None) -> str:
    script = " script-src 'unsafe-inline';" if refresh else ""
    return (
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; img-src data:; '
        f"style-src 'unsafe-inline';{script} base-uri 'none'; form-action 'none'\">\n"
    )


def _without_script(refresh: float | None) -> str:
    if refresh is None:
        return ""
    return f'<noscript><meta http-equiv="refresh" content="{refresh:g}"></noscript>\n'


def _script(refresh: float | None) -> str:
    if refresh is None:
        return ""
    return f"<script>{_REFRESH.replace('MILLISECONDS', f'{1000 * refresh:.0f}')}</script>"
