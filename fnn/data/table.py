"""Tables of comma-separated values: columns of numbers, and perhaps one of classes."""

import csv
import math
import re
from array import array
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fnn.data.bounded import Opened, Source, opened
from fnn.data.table_head import check_delimiter, check_names, is_number, label_column

MAX_TABLE_BYTES = 1 << 28
MAX_CLASSES = 1000
MAX_LINE = 1 << 20  # bytes


# What tables have in place of numbers that are not known.
_MISSING = {"", "?", "-", "na", "n/a", "nan", "null", "none", "inf", "-inf"}


class Table(NamedTuple):
    """N rows of D numbers, and the class of each if the table has a column of them.

    Attributes:
      x: (N, D).
      y: (N,), each a position in `classes`.
      columns: the D names of the columns of x.
      classes: their names, in the order of their numbers; () without labels.
    """

    x: NDArray[np.float32]
    y: NDArray[np.int32] | None
    columns: tuple[str, ...]
    classes: tuple[str, ...]


def read_csv(
    source: Source,
    *,
    header: bool,
    label: int | str | None = None,
    classes: Sequence[str] | None = None,
    delimiter: str = ",",
    max_bytes: int = MAX_TABLE_BYTES,
    max_classes: int = MAX_CLASSES,
) -> Table:
    """The numbers of a CSV file in UTF-8, and its labels as classes.

    A row is a line: cells may be quoted with `"`, but hold no newline. Blanks around a cell are
    nothing. A missing number is no number, and refused. Empty lines at the end are nothing. Beside
    the table itself, one line is in memory at a time, in some 20 bytes a byte.

    Args:
        source: a path, or an open binary file.
        header: whether the first line names the columns; without it, they are "0", "1", …
        label: the column of the classes, by its name or its position (-1: the last); None: there is
            none, and a number to be predicted is a column of x like any other.
        classes: their names in the order of their numbers; if not given, those that are found,
            sorted (as numbers if they all are whole numbers). A test table needs those of its
            training table.
        delimiter: between two cells, one character.
        max_bytes: the largest file that is accepted.
        max_classes: more different labels than this are taken for a mistake.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is empty, too large, not UTF-8, or has a line over 1 MiB; the names of
            the columns are numbers; another delimiter is in the first line; a row has more or
            fewer cells than it, or is empty; a cell is no number that float32 can hold; two
            columns have one name; there is no column `label` or no other; or a label is empty or no
            class. The message says which line and column, and how to mend it.
    """
    if len(delimiter) != 1 or delimiter in '"\r\n':
        raise ValueError(f"expected a delimiter of one character, got {delimiter!r}")
    with opened(source) as file:
        if file.stored > max_bytes:
            raise ValueError(
                f"{file.name}: expected at most {max_bytes} bytes (max_bytes), got {file.stored}"
            )
        columns = _columns(file, delimiter, header)
        at = label_column(file.name, columns, label, header)
        if header:
            check_names(file.name, columns, at)
        numbers, labels = array("f"), _Labels(classes, max_classes)
        for line, cells in _rows(file, delimiter, 2 if header else 1):
            where = f"{file.name}, line {line}"
            if len(cells) != len(columns):
                got = "an empty line" if _is_empty(cells) else len(cells)
                raise ValueError(f"{where}: expected {len(columns)} cells, got {got}")
            name = None if at is None else cells.pop(at).strip()
            numbers.extend(_numbers(where, cells, columns, at, header, not numbers))
            if name is not None:
                labels.append(where, name)
    if at is not None:
        del columns[at]
    if not numbers:
        raise ValueError(f"{file.name}: expected at least one row of numbers, got none")
    x = np.frombuffer(numbers, np.float32).reshape(-1, len(columns))
    if at is None:
        return Table(x, None, tuple(columns), ())
    y, names = labels.finished()
    return Table(x, y, tuple(columns), names)


class _Labels:
    """The labels so far as numbers, in the order in which their names came first."""

    def __init__(self, classes: Sequence[str] | None, max_classes: int):
        self.classes, self.numbers = classes, array("i")
        self.number = {name: n for n, name in enumerate(classes or ())}
        if classes is not None and (not classes or len(self.number) < len(classes)):
            raise ValueError(f"expected different classes, at least one, got {classes}")
        self.most = max_classes if classes is None else len(classes)

    def append(self, where: str, name: str) -> None:
        if name not in self.number:
            if self.classes is not None:
                raise ValueError(
                    f"{where}: expected a class, one of {', '.join(self.classes)}, got {name[:40]!r}"
                )
            if not name:
                raise ValueError(f"{where}: expected a label, got an empty cell")
            if len(self.number) == self.most:
                raise ValueError(
                    f"{where}: expected at most {self.most} different labels (max_classes), got "
                    "more: is it a column of classes?"
                )
            self.number[name] = len(self.number)
        self.numbers.append(self.number[name])

    def finished(self) -> tuple[NDArray[np.int32], tuple[str, ...]]:
        """The labels in the order of the classes, and these."""
        y = np.frombuffer(self.numbers, np.int32)
        if self.classes is not None:
            return y, tuple(self.classes)
        whole = all(name.isdecimal() and len(name) < 19 for name in self.number)
        classes = sorted(self.number, key=lambda name: (int(name) if whole else 0, name))
        place = np.empty(len(classes), np.int32)
        place[[self.number[name] for name in classes]] = np.arange(len(classes))
        return place[y], tuple(classes)


def _rows(file: Opened, delimiter: str, line: int) -> Iterator[tuple[int, list[str]]]:
    """The cells of each line from here on, and its number; of empty lines only what others follow."""
    empty: int | None = None
    while data := file.binary.readline(MAX_LINE + 1):
        where = f"{file.name}, line {line}"
        if len(data) > MAX_LINE:
            raise ValueError(f"{where}: expected at most {MAX_LINE} bytes in a line, got more")
        try:
            text = data.decode("utf-8-sig" if line == 1 else "utf-8")
        except UnicodeDecodeError as error:
            raise ValueError(f"{where}: expected UTF-8, got {error.reason}") from error
        text = text.removesuffix("\n").removesuffix("\r")
        if "\r" in text:
            raise ValueError(
                f"{where}: expected lines that end in a newline, got a carriage return"
            )
        if not text.strip():
            empty = empty or line
            line += 1
            continue
        if empty is not None:
            yield empty, [""]
            empty = None
        if '"' not in text:
            yield line, text.split(delimiter)
        else:
            try:
                yield line, next(csv.reader([text], delimiter=delimiter, strict=True))
            except csv.Error as error:
                raise ValueError(f"{where}: expected quoted cells, got: {error}") from error
        line += 1


def _columns(file: Opened, delimiter: str, header: bool) -> list[str]:
    """The names of the columns; the file is then at the first row of numbers."""
    start = file.binary.tell()
    _, cells = next(_rows(file, delimiter, 1), (0, []))
    if not cells:
        raise ValueError(f"{file.name}: expected a table, got an empty file")
    if _is_empty(cells):
        raise ValueError(f"{file.name}, line 1: expected the cells of a table, got an empty line")
    if len(cells) == 1:
        check_delimiter(file.name, cells[0], delimiter, header)
    if not header:
        file.binary.seek(start)
        return [str(n) for n in range(len(cells))]
    columns = [cell.strip() for cell in cells]
    if len({*columns}) < len(columns):
        mend = "; if this line is a row, give header=False" if any(map(is_number, columns)) else ""
        raise ValueError(
            f"{file.name}: expected different names of columns, got {columns[:20]}{mend}"
        )
    return columns


def _is_empty(cells: list[str]) -> bool:
    return len(cells) == 1 and not cells[0].strip()


def _numbers(
    where: str,
    cells: list[str],
    columns: list[str],
    label: int | None,
    header: bool,
    first: bool,
) -> Iterable[float]:
    """The cells but for the label's, as numbers; of the first row or another one."""
    try:
        values = array("f", map(float, cells))
        # The sum is finite only if all are; and Python's own 1_000 is no number of a table.
        if math.isfinite(sum(values)) and not any("_" in cell for cell in cells):
            return values
    except ValueError:
        pass
    at, wrong = next((n, cell) for n, cell in enumerate(cells) if not is_number(cell))
    at += label is not None and at >= label  # among all columns
    column = repr(columns[at]) if header else str(at)
    got = repr(wrong[:40]) if wrong.strip() else "an empty cell"
    raise ValueError(
        f"{where}, column {column}: expected a number that float32 can hold, got {got}; "
        f"{_remedy(wrong, column, label, first and not header)}"
    )


def _remedy(cell: str, column: str, label: int | None, names: bool) -> str:
    """What to do about a cell that is no number, in a line that has the names of the columns maybe."""
    # A name may have digits in it, such as x1, and what is meant for a number begins with one.
    if cell.strip().lower() in _MISSING or re.match(r"\s*[-+]?\.?\d", cell):
        return "write a number there, or leave the row out"
    given = "if this line has the names of the columns, give header=True; " if names else ""
    if label is None:
        given += f"if it is the class of its row, give label={column}; "
    another = "" if label is None else ": the one of the classes is another"
    return (
        f"{given}{'otherwise ' * bool(given)}write the column as numbers, or leave it out{another}"
    )
