"""A table as a piece of HTML that stands by itself: no script, no style, nothing to fetch."""

from collections.abc import Sequence
from html import escape


def html_table(
    caption: str, head: Sequence[str], lines: Sequence[Sequence[str]], total: Sequence[str] | None
) -> str:
    """A `<table>` with a caption, a header for each column, and for each row in its first cell.

    All text is escaped. A reader of screens hears with each cell the headers that it stands under; the
    last row, of the totals, is the table's foot.

    Raises:
      ValueError: a row has another number of cells than the head.
    """
    rows = [*lines, *([total] if total is not None else [])]
    wrong = next((row for row in rows if len(row) != len(head)), None)
    if wrong is not None:
        raise ValueError(f"html_table: expected {len(head)} cells in a row, got {list(wrong)}")
    columns = "".join(f'<th scope="col">{escape(name)}</th>' for name in head)
    body = "\n".join(map(_row, lines))
    foot = f"<tfoot>\n{_row(total)}\n</tfoot>\n" if total is not None else ""
    return (
        f"<table>\n<caption>{escape(caption)}</caption>\n"
        f"<thead>\n<tr>{columns}</tr>\n</thead>\n<tbody>\n{body}\n</tbody>\n{foot}</table>\n"
    )


def _row(cells: Sequence[str]) -> str:
    first, *others = map(escape, cells)
    return f'<tr><th scope="row">{first}</th>{"".join(f"<td>{cell}</td>" for cell in others)}</tr>'
