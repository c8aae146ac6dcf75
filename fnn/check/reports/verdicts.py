"""Rows that compare no two numbers: a method that cannot tell, and a pass that does not run."""

import re

from fnn.check.reports.report import Row, Verdict

_RAISED = re.compile(r"[A-Za-z_][\w.]*(Error|Exception|Warning|Interrupt): ")  # of a traceback


def undecided_row(method: str, path: str, why: str, tolerance: float) -> Row:
    """A row that says why `method` cannot tell here."""
    return _row(method, path, "undecided", "not compared", "not compared", why, tolerance)


def words_row(method: str, path: str, found: str, expected: str, predicate: str) -> Row:
    """A row of two phrases, wrong unless they are the same: ``found`` and what was ``expected``."""
    verdict: Verdict = "ok" if found == expected else "wrong"
    return _row(method, path, verdict, found, expected, predicate, 0.0)


def first_line(error: Exception) -> str:
    """An exception in one line: its type and the beginning of its message.

    Of one raised in a callback, which comes with the whole traceback: the line that names it.
    """
    lines = str(error).strip().splitlines()
    if any("Traceback (most recent call last)" in line for line in lines):
        raised = [line for line in lines if _RAISED.match(line)]
        if raised:
            return raised[-1]
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__


def _row(
    method: str,
    path: str,
    verdict: Verdict,
    hand: str,
    reference: str,
    predicate: str,
    tolerance: float,
) -> Row:
    error = float("inf") if verdict == "wrong" else 0.0
    return Row(
        method=method,
        path=path,
        relative=error,
        absolute=error,
        element=None,
        hand=hand,
        reference=reference,
        tolerance=tolerance,
        verdict=verdict,
        predicate=predicate,
    )
