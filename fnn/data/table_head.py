"""The first line of a table: what its columns are called, and what is no such line."""

import math
from array import array
from difflib import get_close_matches
from itertools import pairwise


def label_column(
    name: str, columns: list[str], label: int | str | None, header: bool
) -> int | None:
    """The position of the column of classes.

    Raises:
      ValueError: there is none of this name or position, or no other.
    """
    if label is None:
        return None
    if len(columns) < 2:
        raise ValueError(f"{name}: expected a column of numbers beside the labels, got {columns}")
    if isinstance(label, str):
        if label not in columns:
            raise ValueError(
                f"{name}: expected a column {label!r}, got {', '.join(columns[:20])}"
                f"{_near(label, columns, header)}"
            )
        return columns.index(label)
    if not -len(columns) <= label < len(columns):
        raise ValueError(f"{name}: expected a column {label}, got {len(columns)} columns")
    return label % len(columns)


def _near(label: str, columns: list[str], header: bool) -> str:
    """What may have been meant by the name of a column."""
    if not header:
        return "; if the first line has the names of the columns, give header=True"
    folded = {column.casefold(): column for column in columns}
    near = get_close_matches(label.strip().casefold(), folded, 1)
    return f"; close to it: {folded[near[0]]!r}" if near else ""


def check_names(name: str, columns: list[str], label: int | None) -> None:
    """Refuse names that are a row of numbers, and not such as 0, 1, 2, … or the lengths of waves.

    Raises:
      ValueError: they are.
    """
    names = [each for n, each in enumerate(columns) if n != label]
    if not all(map(is_number, names)):
        return
    steps = [float(b) - float(a) for a, b in pairwise(names)]
    if len(names) == 1:
        even = float(names[0]) == 0
    else:
        even = all(math.isclose(step, steps[0], rel_tol=1e-6) for step in steps) and (
            steps[0] == 1 or (steps[0] > 0 and len(steps) > 1)
        )
    if not even:
        raise ValueError(
            f"{name}, line 1: expected the names of the columns, got numbers, {', '.join(columns[:20])}; "
            "if it is a row, give header=False"
        )


def check_delimiter(name: str, line: str, delimiter: str, header: bool) -> None:
    """Refuse a first line of one cell that has more between other delimiters.

    Raises:
      ValueError: with the delimiter to give.
    """
    others = [each for each in ",;\t|" + " " * (not header) if each != delimiter]
    found = max(others, key=line.strip().count)
    if found in line.strip():
        raise ValueError(
            f"{name}, line 1: expected cells with {delimiter!r} between them, got one, "
            f"{line.strip()[:40]!r}; give delimiter={found!r}"
        )


def is_number(cell: str) -> bool:
    """Whether a cell is a number that float32 can hold; Python's own 1_000 is none of a table."""
    try:
        return "_" not in cell and math.isfinite(array("f", [float(cell)])[0])
    except ValueError:
        return False
