"""A log of one JSON object a report, which a run that goes on continues without a gap or a repetition."""

import json
import math
import os
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

from fnn.logs.record import AnyReport, record, steps_made

# JSON has no such numbers; they are written as these words.
_WORDS = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


def jsonl(path: str | os.PathLike[str]) -> "JsonLines":
    """A logger that writes `record(report)` as a line of `path`, and flushes it.

    With its first report it continues the file there is: of a run that goes on from step s, the lines
    after step s, which will come again, are dropped, and so is a last line that a crash left unfinished.
    So a run that starts over at step 0 starts its file over. Numbers that are not finite are written as
    the strings "NaN", "Infinity" and "-Infinity", which `read` turns back; every line is valid JSON.
    Folders are made.

    Raises:
      IsADirectoryError: the path is a folder.
    Raises (with the first report):
      ValueError: the file holds a line, not its last, that is no such log's.
    """
    path = Path(path)
    if path.is_dir():
        raise IsADirectoryError(f"expected a file for the log, got the folder {path}")
    return JsonLines(path)


class JsonLines:
    """See `jsonl`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: BinaryIO | None = None

    def __call__(self, report: AnyReport) -> None:
        """Write a line."""
        if self._file is None:
            self._file = _continued(self.path, steps_made(report))
        line = json.dumps(_valid(record(report)), allow_nan=False, ensure_ascii=False)
        self._file.write(line.encode() + b"\n")
        self._file.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None


def read(path: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """The lines of a log, in their order; an unfinished last one is left out.

    Raises:
      ValueError: another line is no JSON object with a step; it says which.
    """
    with Path(path).open("rb") as file:
        return [_restored(entry) for entry, _ in _entries(Path(path), file)]


def _continued(path: Path, step: int) -> BinaryIO:
    """The file, open at its end, with the lines up to `step` in it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists():
        with path.open("rb") as file:
            kept = b"".join(line for entry, line in _entries(path, file) if entry["step"] <= step)
        if path.stat().st_size != len(kept):
            # Another file in its place, so that a crash in between loses neither.
            other = path.with_name(path.name + ".partial")
            with other.open("wb") as file:
                file.write(kept)
                file.flush()
                os.fsync(file.fileno())
            other.replace(path)
    return path.open("ab")


def _entries(path: Path, file: BinaryIO) -> Iterator[tuple[dict[str, Any], bytes]]:
    """Each line's object and its bytes, with a newline; not the last one, if it is unfinished."""
    lines = file.readlines()
    for number, line in enumerate(lines, start=1):
        try:
            entry = json.loads(line)
        except ValueError:  # of JSON, or of UTF-8
            entry = None
        if isinstance(entry, dict) and isinstance(entry.get("step"), int):
            yield entry, line.removesuffix(b"\n") + b"\n"
        elif number < len(lines):
            raise ValueError(
                f"expected a JSON object with a step in line {number} of {path}, got {line[:80]!r}; "
                "give the log a path of its own"
            )


def _valid(tree: Any) -> Any:
    """The tree with words for the numbers that JSON has not."""
    if isinstance(tree, dict):
        return {name: _valid(value) for name, value in tree.items()}
    if isinstance(tree, list):
        return [_valid(value) for value in tree]
    if isinstance(tree, float) and not math.isfinite(tree):
        return "NaN" if math.isnan(tree) else "Infinity" if tree > 0 else "-Infinity"
    return tree


def _restored(tree: Any) -> Any:
    if isinstance(tree, dict):
        return {name: _restored(value) for name, value in tree.items()}
    if isinstance(tree, list):
        return [_restored(value) for value in tree]
    return _WORDS.get(tree, tree) if isinstance(tree, str) else tree
