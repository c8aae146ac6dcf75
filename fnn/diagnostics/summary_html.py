"""A table as a piece of HTML that stands by itself: no script, no style, nothing to fetch."""

from collections.abc import Sequence
from html import escape


def html_table(
    caption: str,
    head: Sequence[str],
    lines: Sequence[Sequence[str]],
    total: Sequence[str] | None,
    left: int = 1,
) -> str:
    """A `<table>` with a caption, a header for each column, and for each row in its first cell.

    All text is escaped. A reader of screens hears with each cell the headers that it stands under; the
    last row, of the totals, is the table's foot. The first `left` columns are words, of the class
    "words" for a style; the others are numbers.

    Raises:
      ValueError: a row has another number of cells than the head.
    """
    rows = [*lines, *([total] if total is not None else [])]
    wrong = next((row for row in rows if len(row) != len(head)), None)
    if wrong is not None:
        raise ValueError(f"html_table: expected {len(head)} cells in a row, got {list(wrong)}")
    columns = "".join(
        f'<th scope="col"{_of_words(i, left)}>{escape(name)}</th>' for i, name in enumerate(head)
    )
    body = "\n".join(_row(line, left) for line in lines)
    foot = f"<tfoot>\n{_row(total, left)}\n</tfoot>\n" if total is not None else ""
    return (
        f"<table>\n<caption>{escape(caption)}</caption>\n"
        f"<thead>\n<tr>{columns}</tr>\n</thead>\n<tbody>\n{body}\n</tbody>\n{foot}</table>\n"
    )


def _row(cells: Sequence[str], left: int) -> str:
    first, *others = map(escape, cells)
    told = "".join(f"<td{_of_words(i, left)}>{cell}</td>" for i, cell in enumerate(others, start=1))
    return f'<tr><th scope="row">{first}</th>{told}</tr>'


def _of_words(column: int, left: int) -> str:
    return ' class="words"' if 0 < column < left else ""
