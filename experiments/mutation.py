"""The mutation score of every layer, loss and container: planted faults, and those found.

    python -m experiments.mutation [--only convolution batch_norm] [--verbose] [--jobs 2]

Every equation of every backward pass is changed by every operator that fits it, one at a time, in
float64, and the mistakes of the catalogue are added (see `fnn.check.mutation`). The exit status is 1 if
one fault goes unseen, so this is a gate.
"""

import argparse
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any, NamedTuple

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


# No faults are planted into these, whose gradients are proved by the tests of the table like all others.
LEFT_OUT = {
    # One point has one index and takes one branch: faults in the other branches are reached by no input.
    "conditional",
    # A loop of 81 rounds, which runs in Python for every fault inside of it: that would take hours.
    "max_pool, large",
}

SUBJECTS = {
    name: _of_layer(row) for name, row in (LAYERS | FORMS).items() if name not in LEFT_OUT
} | {name: _of_loss(row) for name, row in LOSSES.items()}


class Scored(NamedTuple):
    """What one subject's line says, in a form that crosses from process to process."""

    name: str
    killed: int
    survivors: tuple[str, ...]
    equivalent: int
    seconds: float
    whole: str

    def line(self, width: int) -> str:
        """The line, and one for each survivor."""
        faults = self.killed + len(self.survivors)
        score = percent(self.killed / faults if faults else 1.0)
        counts = f"{self.killed:8}{len(self.survivors):10}{self.equivalent:12}{score:>8}"
        first = f"{self.name:{width}}{counts}{self.seconds:9.1f}"
        return "\n  survived: ".join((first, *self.survivors))


def scored(name: str) -> Scored:
    """Plant all faults into one subject."""
    start = time.perf_counter()
    report = SUBJECTS[name]()
    return Scored(
        name,
        len(report.killed),
        tuple(f"{survivor.mutant}\n    {survivor.reason}" for survivor in report.survivors),
        len(report.equivalents),
        time.perf_counter() - start,
        str(report),
    )


def main() -> int:
    """Print one line for each subject, and every survivor."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--only", nargs="+", default=[""], help="names that begin with one of these"
    )
    parser.add_argument("--verbose", action="store_true", help="the whole report of each subject")
    parser.add_argument("--jobs", type=int, default=2, help="processes at once, 4 GiB each")
    arguments = parser.parse_args()
    names = [name for name in SUBJECTS if name.startswith(tuple(arguments.only))]
    if not names:
        parser.error(f"no subject begins with {arguments.only}")
    began, found, width = time.perf_counter(), [], max(map(len, names))
    print(f"{'':{width}}  killed  survived  equivalent   score  seconds", flush=True)
    # New processes, not forks: jax has threads, which a fork does not take along.
    with ProcessPoolExecutor(arguments.jobs, get_context("spawn")) as pool:
        for each in pool.map(scored, names):
            found.append(each)
            print(each.line(width), flush=True)
            if arguments.verbose:
                print(f"\n{each.whole}\n", flush=True)
    killed, survived = sum(s.killed for s in found), sum(len(s.survivors) for s in found)
    print(f"{killed} of {killed + survived} faults found in {time.perf_counter() - began:.0f} s")
    return SOME_SURVIVED if survived else 0


if __name__ == "__main__":
    sys.exit(main())
