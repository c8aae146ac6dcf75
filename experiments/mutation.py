"""The mutation score of every layer, loss and container: planted faults, and those found.

    python -m experiments.mutation [--only convolution batch_norm] [--verbose]

Every equation of every backward pass is changed by every operator that fits it, one at a time, in
float64, and the mistakes of the catalogue are added (see `fnn.check.mutation`). The exit status is 1 if
one fault goes unseen, so this is a gate.
"""

import argparse
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from fnn import layers
from fnn.check.mutation import MutationReport, mutation_score, mutation_score_of_loss
from fnn.check.mutation.report import percent
from fnn.compose import chain
from tests.tables import LAYERS, LOSSES, LayerRow, LossRow

SOME_SURVIVED = 1


def _convolution(shape: tuple[int, ...], *arguments: Any, **settings: Any) -> LayerRow:
    return LayerRow(lambda: layers.convolution(*arguments, **settings), shape)


# Forms that the tests' small shapes do not reach, and a square where a transpose could hide.
FORMS = {
    "linear, square": LayerRow(lambda: layers.linear(4), (4, 4)),
    "convolution, dense": _convolution((2, 5, 4, 5), 4, 3),
    "convolution in chunks": _convolution((9, 32, 30, 5), 4, 3),
    "convolution, subpixel": _convolution((2, 7, 6, 5), 4, 3, stride=2),
    "convolution, 1x1, strided": _convolution((2, 4, 4, 3), 4, 1, stride=2),
    "chain with a norm": LayerRow(
        lambda: chain(layers.linear(4), layers.batch_norm(), layers.relu()), (8, 3)
    ),
}


def _of_layer(row: LayerRow) -> Callable[[], MutationReport]:
    return lambda: mutation_score(row.build(), row.draw_for_faults(np.random.default_rng(0)))


def _of_loss(row: LossRow) -> Callable[[], MutationReport]:
    def score() -> MutationReport:
        rng = np.random.default_rng(0)
        return mutation_score_of_loss(row.build(), row.draw(rng), row.target(rng))

    return score


# One point has one index and takes one branch, so faults in the other branches are reached by no input.
# The tests of this container prove each of its branches by itself.
LAZY = {"conditional"}

SUBJECTS = {
    name: _of_layer(row) for name, row in (LAYERS | FORMS).items() if name not in LAZY
} | {name: _of_loss(row) for name, row in LOSSES.items()}


def main() -> int:
    """Print one line for each subject, and every survivor."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--only", nargs="+", default=[""], help="names that begin with one of these"
    )
    parser.add_argument("--verbose", action="store_true", help="the whole report of each subject")
    arguments = parser.parse_args()
    began, reports = time.perf_counter(), []
    width = max(map(len, SUBJECTS))
    print(f"{'':{width}}  killed  survived  equivalent   score  seconds")
    for name, score in SUBJECTS.items():
        if not name.startswith(tuple(arguments.only)):
            continue
        start = time.perf_counter()
        report = score()
        reports.append(report)
        counts = [len(found) for found in (report.killed, report.survivors, report.equivalents)]
        print(
            f"{name:{width}}{counts[0]:8}{counts[1]:10}{counts[2]:12}{percent(report.score):>8}"
            f"{time.perf_counter() - start:9.1f}",
            flush=True,
        )
        for survivor in report.survivors:
            print(f"  survived: {survivor.mutant}\n    {survivor.reason}", flush=True)
        if arguments.verbose:
            print(f"\n{report}\n", flush=True)
    killed = sum(len(report.killed) for report in reports)
    survived = sum(len(report.survivors) for report in reports)
    print(f"{killed} of {killed + survived} faults found in {time.perf_counter() - began:.0f} s")
    return 0 if all(report.ok for report in reports) else SOME_SURVIVED


if __name__ == "__main__":
    sys.exit(main())
