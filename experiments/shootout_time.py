"""How long a check takes: fnn against `check_grads` in both modes at order 2, in turn.

Both look at the right derivative in float64 at the same shapes, new data every round. `check_grads`
needs two forms of it for its two modes, a `custom_jvp` and a `custom_vjp`; fnn is given the second.
"""

import time
from typing import NamedTuple

import jax
import numpy as np

from experiments.shootout_checkers import Case, Checker, Word, by_check_grads, by_fnn, run
from experiments.shootout_subjects import Arrays, Bound
from experiments.timing import Ratio, ratio


def both_modes(derivative: Bound, args: Arrays) -> Word:
    """`check_grads` forward and reverse, first and second order."""
    forward = by_check_grads(derivative, args, modes=("fwd",), order=2)
    reverse = by_check_grads(derivative, args, modes=("rev",), order=2)
    return "rejects" if "rejects" in (forward, reverse) else forward


class Times(NamedTuple):
    """Seconds a check, of one subject at one size."""

    subject: str
    size: str
    fnn: float  # median, once everything is compiled
    check_grads: float
    warm: Ratio
    fnn_first: float  # with every cache of jax empty
    check_grads_first: float

    @property
    def first(self) -> float:
        """fnn / check_grads with empty caches."""
        return self.fnn_first / self.check_grads_first


def times(subject: str, size: str, rounds: int) -> Times:
    """Both checkers from cold, then `rounds` rounds of both."""
    checkers: dict[str, Checker] = {"fnn": by_fnn, "check_grads": both_modes}
    first = {}
    for name, checker in checkers.items():
        jax.clear_caches()
        first[name] = _seconds(checker, subject, size, 0)
    for seed in (1, 2):  # a cache of fnn was emptied by the other's turn
        for checker in checkers.values():
            _seconds(checker, subject, size, seed)
    taken: dict[str, list[float]] = {name: [] for name in checkers}
    for i in range(rounds):
        for name in sorted(checkers, reverse=bool(i % 2)):
            taken[name].append(_seconds(checkers[name], subject, size, 3 + i))
    fnn, theirs = np.asarray(taken["fnn"]), np.asarray(taken["check_grads"])
    return Times(
        subject,
        size,
        float(np.median(fnn)),
        float(np.median(theirs)),
        ratio(fnn, theirs),
        first["fnn"],
        first["check_grads"],
    )


def _seconds(checker: Checker, subject: str, size: str, seed: int) -> float:
    start = time.perf_counter()
    run(checker, Case(subject, None, size, "f64", seed))
    return time.perf_counter() - start


def table(rows: list[Times]) -> str:
    """One line a subject and size."""
    lines = [
        f"{'':22}{'warm, ms':>20}{'fnn / check_grads':>24}{'first, s':>18}{'ratio':>8}",
        f"{'':22}{'fnn':>10}{'theirs':>10}{'median [quartiles]':>24}{'fnn':>9}{'theirs':>9}",
    ]
    lines += [
        f"{row.subject + ', ' + row.size:22}{1e3 * row.fnn:10.0f}{1e3 * row.check_grads:10.0f}"
        f"{row.warm!s:>24}{row.fnn_first:9.1f}{row.check_grads_first:9.1f}{row.first:8.2f}"
        for row in rows
    ]
    worst = max(rows, key=lambda row: row.warm.median)
    lines.append(
        f"worst: {worst.warm.median:.2f} warm ({worst.subject}, {worst.size}), "
        f"{max(row.first for row in rows):.2f} first"
    )
    return "\n".join(lines)
