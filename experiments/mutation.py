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
from typing import Any, NamedTuple

import numpy as np

from fnn import layers, losses
from fnn.check.mutation import MutationReport, mutation_score, mutation_score_of_loss
from fnn.check.mutation.report import percent
from fnn.compose import chain, parallel, residual
from fnn.layer import Layer, PyTree
from fnn.losses import Loss

SOME_SURVIVED = 1


class LayerSubject(NamedTuple):
    """A layer, the functions that it stands for, and the shape of its input."""

    build: Callable[[], Layer]
    shape: tuple[int, ...]
    covers: tuple[Callable[..., Any], ...]

    def score(self) -> MutationReport:
        """At normal x."""
        return mutation_score(self.build(), _normal(*self.shape))


class LossSubject(NamedTuple):
    """A loss, and what it is asked for."""

    build: Callable[[], Loss]
    prediction: tuple[int, ...]
    target: Callable[[], PyTree]
    covers: tuple[Callable[..., Any], ...]

    def score(self) -> MutationReport:
        """At normal predictions."""
        return mutation_score_of_loss(self.build(), _normal(*self.prediction), self.target())


def _normal(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


def _labels(*shape: int) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 4, shape, np.int32)


def _distribution() -> np.ndarray:
    """Rows that are not normalized: the gradient must know their sum."""
    return np.random.default_rng(1).uniform(0, 1, (6, 4)).astype(np.float32)


def _convolution(shape: tuple[int, ...], *arguments: Any, **settings: Any) -> LayerSubject:
    return LayerSubject(
        lambda: layers.convolution(*arguments, **settings), shape, (layers.convolution,)
    )


def _squared_error(reduction: str) -> LossSubject:
    return LossSubject(
        lambda: losses.squared_error(reduction),
        (6, 2, 2),
        lambda: _normal(6, 2, 2) ** 2,
        (losses.squared_error,),
    )


# Shapes are small, and square where a transpose could hide; a layer that draws gets so many elements that
# a mask which differs does so somewhere.
SUBJECTS: dict[str, LayerSubject | LossSubject] = {
    "linear": LayerSubject(lambda: layers.linear(4), (5, 3), (layers.linear,)),
    "linear, square": LayerSubject(lambda: layers.linear(4), (4, 4), (layers.linear,)),
    "linear of a sequence": LayerSubject(lambda: layers.linear(4), (2, 3, 3), (layers.linear,)),
    "linear without bias": LayerSubject(
        lambda: layers.linear(4, bias=False), (5, 3), (layers.linear,)
    ),
    "sigmoid": LayerSubject(layers.sigmoid, (4, 3), (layers.sigmoid,)),
    "tanh": LayerSubject(layers.tanh, (4, 3), (layers.tanh,)),
    "relu": LayerSubject(layers.relu, (4, 3), (layers.relu,)),
    "softmax": LayerSubject(layers.softmax, (4, 3), (layers.softmax,)),
    "softmax over the first axis": LayerSubject(
        lambda: layers.softmax(axis=0), (3, 3), (layers.softmax,)
    ),
    "flatten": LayerSubject(layers.flatten, (3, 3, 4), (layers.flatten,)),
    "dropout": LayerSubject(lambda: layers.dropout(0.3), (128, 128), (layers.dropout,)),
    "batch_norm": LayerSubject(layers.batch_norm, (8, 3), (layers.batch_norm,)),
    "batch_norm of images": LayerSubject(layers.batch_norm, (3, 3, 2, 3), (layers.batch_norm,)),
    "max_pool": LayerSubject(lambda: layers.max_pool(2), (2, 4, 4, 2), (layers.max_pool,)),
    "max_pool, overlapping": LayerSubject(
        lambda: layers.max_pool(3, stride=2, padding="SAME"), (2, 6, 5, 2), (layers.max_pool,)
    ),
    "convolution of few": _convolution((2, 5, 4, 3), 4, 3),
    "convolution, dense": _convolution((2, 5, 4, 5), 4, 3),
    "convolution in chunks": _convolution((9, 32, 30, 5), 4, 3),
    "convolution, subpixel": _convolution((2, 7, 6, 5), 4, 3, stride=2),
    "convolution, strided": _convolution((2, 7, 6, 3), 4, 3, stride=2),
    "convolution, dilated": _convolution((2, 7, 8, 5), 4, (2, 3), padding="VALID", dilation=2),
    "convolution, padded": _convolution((2, 5, 5, 3), 4, 3, padding=((1, 2), (0, 1))),
    "convolution, grouped": _convolution((2, 4, 4, 4), 6, 3, groups=2, bias=False),
    "convolution, depthwise": _convolution((2, 5, 4, 4), 8, 3, groups=4),
    "convolution, 1x1": _convolution((2, 3, 3, 3), 4, 1),
    "convolution, 1x1, strided": _convolution((2, 4, 4, 3), 4, 1, stride=2),
    "chain": LayerSubject(
        lambda: chain(layers.linear(4), layers.tanh(), out=layers.linear(2)), (4, 3), (chain,)
    ),
    "chain with a norm": LayerSubject(
        lambda: chain(layers.linear(4), layers.batch_norm(), layers.relu()), (8, 3), (chain,)
    ),
    "parallel": LayerSubject(
        lambda: parallel(a=layers.linear(4), b=chain(layers.tanh(), layers.linear(2))),
        (4, 3),
        (parallel,),
    ),
    "residual": LayerSubject(
        lambda: residual(chain(layers.linear(3), layers.tanh())), (4, 3), (residual,)
    ),
    "residual with a shortcut": LayerSubject(
        lambda: residual(layers.linear(5), shortcut=layers.linear(5, bias=False)),
        (4, 3),
        (residual,),
    ),
    "softmax_cross_entropy, labels": LossSubject(
        losses.softmax_cross_entropy, (6, 4), lambda: _labels(6), (losses.softmax_cross_entropy,)
    ),
    "softmax_cross_entropy, distribution": LossSubject(
        losses.softmax_cross_entropy, (6, 4), _distribution, (losses.softmax_cross_entropy,)
    ),
    "softmax_cross_entropy of a sequence": LossSubject(
        losses.softmax_cross_entropy,
        (3, 2, 4),
        lambda: _labels(3, 2),
        (losses.softmax_cross_entropy,),
    ),
    **{f"squared_error, {name}": _squared_error(name) for name in ("sum", "half", "mean")},
}


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
    for name, subject in SUBJECTS.items():
        if not name.startswith(tuple(arguments.only)):
            continue
        start = time.perf_counter()
        report = subject.score()
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
