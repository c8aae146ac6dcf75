"""Schedules: each with its closed form in NumPy's float64, and optax's with the same numbers.

optax counts as we do: its argument is the number of updates made. Where it differs (its one-cycle, its
missing 1/t, triangles and 1/√t), a row has the closed form alone.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import optax

from fnn.optimizers import schedules


@dataclasses.dataclass(frozen=True)
class ScheduleRow:
    """One schedule, or one form of it, as the properties see it."""

    build: Callable[..., Any]
    arguments: dict[str, Any]
    # (integer counts, float64) -> values, from the source and not from our code.
    formula: Callable[[np.ndarray], np.ndarray]
    # From this count on the value stays as it is; None for what never ends.
    end: int | None
    # optax's with the same numbers.
    peer: Callable[[], Any] | None = None

    def schedule(self, **changed: Any) -> Any:
        return self.build(**{**self.arguments, **changed})


def line(counts, xs, ys):
    return np.interp(counts, xs, ys)


def cosine(counts, start, steps, final):
    return final + (start - final) * (1 + np.cos(np.pi * np.clip(counts / steps, 0, 1))) / 2


def warm(counts, steps, first, after):
    return np.where(counts < steps, first * (counts + 1) / (steps + 1), after(counts - steps))


def restarts(counts, peak, steps, growth, shrink, final):
    """As the paper says it: T_cur counts up, and at T_i begins anew with T_i · growth."""
    values, done, length, cycle = [], 0, steps, 0
    for count in range(int(counts.max()) + 1):
        if count - done == length:
            done, length, cycle = count, length * growth, cycle + 1
        high = peak * shrink**cycle
        values.append(final + (high - final) * (1 + np.cos(np.pi * (count - done) / length)) / 2)
    return np.asarray(values)[counts.astype(int)]


def one_cycle(counts, xs, ys):
    result = np.full(counts.shape, ys[-1])
    for a, b, low, high in zip(xs, xs[1:], ys, ys[1:], strict=False):
        s = (counts - a) / (b - a)
        inside = (counts >= a) & (counts < b)
        result = np.where(inside, low + (high - low) * (1 - np.cos(np.pi * s)) / 2, result)
    return result


def triangle(counts, low, high, size, scale):
    """Smith's own lines: cycle = floor(1 + n / 2S), x = |n / S - 2 cycle + 1|."""
    cycle = np.floor(1 + counts / (2 * size))
    x = np.abs(counts / size - 2 * cycle + 1)
    return low + (high - low) * np.maximum(0, 1 - x) * scale(cycle, counts)


def root(counts):
    s = np.clip((counts - 30) / 20, 0, 1)
    return warm(counts, 10, 0.5, lambda after: 0.1 + 0.4 * (1 - np.sqrt(s)))


SCHEDULES = {
    "constant": ScheduleRow(
        schedules.constant,
        {"value": 0.3},
        lambda n: np.full(n.shape, 0.3),
        0,
        lambda: optax.constant_schedule(0.3),
    ),
    "step_decay": ScheduleRow(
        schedules.step_decay,
        {"start": 0.5, "factor": 0.5, "every": 7},
        lambda n: 0.5 * 0.5 ** np.floor(n / 7),
        None,
        lambda: optax.exponential_decay(0.5, 7, 0.5, staircase=True),
    ),
    "step_decay_to_a_floor": ScheduleRow(
        schedules.step_decay,
        {"start": 0.5, "factor": 0.1, "every": 10, "final": 0.01},
        lambda n: np.maximum(0.5 * 0.1 ** np.floor(n / 10), 0.01),
        20,
        lambda: optax.exponential_decay(0.5, 10, 0.1, staircase=True, end_value=0.01),
    ),
    "exponential": ScheduleRow(
        schedules.exponential,
        {"start": 0.5, "factor": 0.9, "steps": 5, "final": 0.02},
        lambda n: np.maximum(0.5 * 0.9 ** (n / 5), 0.02),
        153,
        lambda: optax.exponential_decay(0.5, 5, 0.9, end_value=0.02),
    ),
    "exponential_up": ScheduleRow(
        schedules.exponential,
        {"start": 1e-5, "factor": 10.0, "steps": 10, "final": 1.0},
        lambda n: np.minimum(1e-5 * 10.0 ** (n / 10), 1.0),
        50,
        lambda: optax.exponential_decay(1e-5, 10, 10.0, end_value=1.0),
    ),
    "inverse_time": ScheduleRow(
        schedules.inverse_time,
        {"start": 0.5, "decay": 0.5, "steps": 4},
        lambda n: 0.5 / (1 + 0.5 * n / 4),
        None,
    ),
    "linear": ScheduleRow(
        schedules.linear,
        {"start": 0.5, "steps": 40, "final": 0.1},
        lambda n: line(n, [0, 40], [0.5, 0.1]),
        40,
        lambda: optax.linear_schedule(0.5, 0.1, 40),
    ),
    "polynomial": ScheduleRow(
        schedules.polynomial,
        {"start": 0.5, "steps": 40, "power": 2.5, "final": 0.1},
        lambda n: 0.1 + 0.4 * (1 - np.clip(n / 40, 0, 1)) ** 2.5,
        40,
        lambda: optax.polynomial_schedule(0.5, 0.1, 2.5, 40),
    ),
    "cosine": ScheduleRow(
        schedules.cosine,
        {"start": 0.5, "steps": 40, "final": 0.05},
        lambda n: cosine(n, 0.5, 40, 0.05),
        40,
        lambda: optax.cosine_decay_schedule(0.5, 40, alpha=0.1),
    ),
    "inverse_square_root": ScheduleRow(
        schedules.inverse_square_root,
        # The paper's rate for width 64 and 10 steps of warmup.
        {"peak": (64 * 10) ** -0.5, "warmup_steps": 10},
        lambda n: 64**-0.5 * np.minimum((n + 1.0) ** -0.5, (n + 1) * 10**-1.5),
        None,
    ),
    "cosine_with_restarts": ScheduleRow(
        schedules.cosine_with_restarts,
        {"peak": 0.5, "steps": 15, "final": 0.02},
        lambda n: restarts(n, 0.5, 15, 1, 1, 0.02),
        None,
        lambda: optax.sgdr_schedule(
            [{"init_value": 0.5, "peak_value": 0.5, "warmup_steps": 0, "decay_steps": 15,
              "end_value": 0.02}] * 20
        ),
    ),
    "cosine_with_longer_restarts": ScheduleRow(
        schedules.cosine_with_restarts,
        {"peak": 0.5, "steps": 5, "growth": 2, "shrink": 0.7, "final": 0.0},
        lambda n: restarts(n, 0.5, 5, 2, 0.7, 0.0),
        None,
        lambda: optax.sgdr_schedule(
            [{"init_value": 0.5 * 0.7**i, "peak_value": 0.5 * 0.7**i, "warmup_steps": 0,
              "decay_steps": 5 * 2**i} for i in range(8)]
        ),
    ),
    "one_cycle": ScheduleRow(
        schedules.one_cycle,
        {"peak": 0.5, "steps": 50, "rise": 0.3},
        lambda n: one_cycle(n, [0, 15, 50], [0.02, 0.5, 2e-6]),
        50,
        lambda: optax.cosine_onecycle_schedule(50, 0.5),
    ),
    "one_cycle_of_a_momentum": ScheduleRow(
        schedules.one_cycle,
        {"peak": 0.85, "steps": 50, "start": 0.95, "final": 0.95, "shape": "linear"},
        lambda n: line(n, [0, 15, 50], [0.95, 0.85, 0.95]),
        50,
    ),
    "cyclical": ScheduleRow(
        schedules.cyclical,
        {"low": 0.1, "high": 0.5, "half_cycle": 8},
        lambda n: triangle(n, 0.1, 0.5, 8, lambda cycle, n: 1.0),
        None,
    ),
    "cyclical_halved": ScheduleRow(
        schedules.cyclical,
        {"low": 0.1, "high": 0.5, "half_cycle": 8, "mode": "triangular2"},
        lambda n: triangle(n, 0.1, 0.5, 8, lambda cycle, n: 0.5 ** (cycle - 1)),
        None,
    ),
    "cyclical_exponential": ScheduleRow(
        schedules.cyclical,
        {"low": 0.1, "high": 0.5, "half_cycle": 8, "mode": "exp_range", "factor": 0.99},
        lambda n: triangle(n, 0.1, 0.5, 8, lambda cycle, n: 0.99**n),
        None,
    ),
    "piecewise_constant": ScheduleRow(
        schedules.piecewise_constant,
        {"values": [0.5, 0.1, 0.2], "boundaries": [10, 25]},
        lambda n: np.select([n < 10, n < 25], [0.5, 0.1], 0.2),
        25,
        lambda: optax.piecewise_constant_schedule(0.5, {10: 0.2, 25: 2.0}),
    ),
    "piecewise_linear": ScheduleRow(
        schedules.piecewise_interpolated,
        {"points": {0: 0.02, 15: 0.5, 40: 0.02, 50: 2e-5}},
        lambda n: line(n, [0, 15, 40, 50], [0.02, 0.5, 0.02, 2e-5]),
        50,
        # Smith's cycle with a last phase far below the first value.
        lambda: optax.linear_onecycle_schedule(50, 0.5, 0.3, 0.8, 25.0, 1e3),
    ),
    "piecewise_cosine": ScheduleRow(
        schedules.piecewise_interpolated,
        {"points": {4: 0.1, 15: 0.5, 50: 0.0}, "shape": "cosine"},
        lambda n: np.where(n < 4, 0.1, one_cycle(n, [4, 15, 50], [0.1, 0.5, 0.0])),
        50,
    ),
    "join": ScheduleRow(
        schedules.join,
        {
            "schedules": [
                schedules.constant(0.1), schedules.linear(0.5, 10), schedules.constant(0.2)
            ],
            "boundaries": [5, 20],
        },
        lambda n: np.select([n < 5, n < 20], [0.1, line(n - 5, [0, 10], [0.5, 0])], 0.2),
        20,
        lambda: optax.join_schedules(
            [optax.constant_schedule(0.1), optax.linear_schedule(0.5, 0, 10),
             optax.constant_schedule(0.2)],
            [5, 20],
        ),
    ),
    "warmup": ScheduleRow(
        schedules.warmup,
        {"schedule": schedules.step_decay(0.5, 0.5, 7), "steps": 9},
        lambda n: warm(n, 9, 0.5, lambda n: 0.5 * 0.5 ** np.floor(n / 7)),
        None,
        lambda: optax.join_schedules(
            [optax.linear_schedule(0.05, 0.5, 9),
             optax.exponential_decay(0.5, 7, 0.5, staircase=True)],
            [9],
        ),
    ),
    "cosine_with_warmup": ScheduleRow(
        schedules.cosine_with_warmup,
        {"peak": 0.5, "total_steps": 50, "warmup_steps": 9, "final": 0.05},
        lambda n: warm(n, 9, 0.5, lambda n: cosine(n, 0.5, 41, 0.05)),
        50,
        # Above 0 from its first count on, as ours, where it is told to begin there.
        lambda: optax.warmup_cosine_decay_schedule(0.05, 0.5, 9, 50, 0.05),
    ),
    "warmup_stable_decay": ScheduleRow(
        schedules.warmup_stable_decay,
        {"peak": 0.5, "warmup_steps": 10, "stable_steps": 20, "decay_steps": 20, "final": 0.1},
        lambda n: warm(n, 10, 0.5, lambda n: line(n, [0, 20, 40], [0.5, 0.5, 0.1])),
        50,
    ),
    "warmup_stable_cosine": ScheduleRow(
        schedules.warmup_stable_decay,
        {"peak": 0.5, "warmup_steps": 0, "stable_steps": 0, "decay_steps": 20, "shape": "cosine"},
        lambda n: cosine(n, 0.5, 20, 0.0),
        20,
    ),
    "warmup_stable_root": ScheduleRow(
        schedules.warmup_stable_decay,
        {"peak": 0.5, "warmup_steps": 10, "stable_steps": 20, "decay_steps": 20, "final": 0.1,
         "shape": "root"},
        root,
        50,
    ),
}  # fmt: skip
