"""Timing in turn: several functions, round after round, so that a busy machine slows them alike."""

import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np


class Ratio(NamedTuple):
    """How long one function takes, as a multiple of another, over rounds of both."""

    median: float
    low: float  # first quartile
    high: float  # third quartile

    def __str__(self) -> str:
        return f"{self.median:6.2f} [{self.low:.2f}-{self.high:.2f}]"


def in_turn(
    functions: Mapping[str, Callable[[], Any]], *, seconds: float = 3.0, least_rounds: int = 7
) -> dict[str, np.ndarray]:
    """Seconds a call, one entry a round, for every function; the order rotates from round to round.

    Each function runs once first, which compiles it. Quick ones are called many times a round, so that
    the clock's grain and the dispatch of a single call do not count.
    """
    names = list(functions)
    once = {}
    for name in names:
        jax.block_until_ready(functions[name]())
        start = time.perf_counter()
        jax.block_until_ready(functions[name]())
        once[name] = time.perf_counter() - start
    calls = {name: max(1, int(0.02 / max(once[name], 1e-6))) for name in names}
    taken: dict[str, list[float]] = {name: [] for name in names}
    stop = time.perf_counter() + seconds
    rounds = 0
    while rounds < least_rounds or (time.perf_counter() < stop and rounds < 200):
        for name in names[rounds % len(names) :] + names[: rounds % len(names)]:
            start = time.perf_counter()
            for _ in range(calls[name]):
                result = functions[name]()
            jax.block_until_ready(result)
            taken[name].append((time.perf_counter() - start) / calls[name])
        rounds += 1
    return {name: np.asarray(values) for name, values in taken.items()}


def ratio(taken: np.ndarray, reference: np.ndarray) -> Ratio:
    """The quotient round by round, its median and quartiles."""
    low, median, high = np.percentile(taken / reference, [25, 50, 75])
    return Ratio(float(median), float(low), float(high))


def temporary(compiled: Any) -> int:
    """Bytes that XLA allocates for the temporaries of one call."""
    return compiled.memory_analysis().temp_size_in_bytes


def step_memory(compiled: Any) -> int:
    """Bytes that a compiled step holds: temporaries, arguments and outputs, shared ones counted once."""
    memory = compiled.memory_analysis()
    return (
        memory.temp_size_in_bytes
        + memory.argument_size_in_bytes
        + memory.output_size_in_bytes
        - memory.alias_size_in_bytes
    )
