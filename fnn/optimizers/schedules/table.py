"""What schedules say at their first and last steps, as a table to read before a run."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fnn.optimizers.hyperparameters import Schedule
from fnn.optimizers.schedules.counts import check_steps

_ALL = 1_000_000  # as many counts are searched for the largest value


def schedule_table(schedules: Mapping[str, Schedule | float], steps: int, ends: int = 3) -> str:
    """The values at the first and last `ends` of so many steps, at the one after, and the largest.

        print(schedule_table({"rate": cosine_with_warmup(0.1, 100, warmup_steps=5)}, 100))

    The columns are counts of steps already made: 0 is the first update, ``steps - 1`` the last one, and
    what is under `steps` would be used by a further step only. A number stands for a constant.

    Raises:
      ValueError: no schedule, or a number of steps or of ends that is not positive; or a schedule does
        not give one number for one count.
    """
    if not schedules:
        raise ValueError("schedule_table: expected one schedule at least, got none")
    steps = check_steps("schedule_table", "steps", steps)
    ends = check_steps("schedule_table", "ends", ends)
    counts = sorted(
        {c for i in range(ends) for c in (i, steps - 1 - i) if 0 <= c < steps} | {steps}
    )
    gap = next((i for i, c in enumerate(counts[1:], 1) if c != counts[i - 1] + 1), None)
    cells = [["count", *map(str, counts)]]
    for name, schedule in schedules.items():
        cells.append([name, *(f"{v:.6g}" for v in schedule_values(name, schedule, counts))])
    if gap is not None:
        for row in cells:
            row.insert(gap + 1, "…")
    if steps <= _ALL:
        cells[0].append("largest")
        for row, (name, schedule) in zip(cells[1:], schedules.items(), strict=True):
            values = schedule_values(name, schedule, np.arange(steps))
            row.append(f"{values.max():.6g} at {values.argmax()}")
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = [
        "  ".join(
            cell.ljust(width) if i == 0 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in cells
    ]
    said = (
        f"count = steps already made: 0 is the first update, {steps - 1} the last of {steps}; "
        f"{steps} would be one more"
    )
    return "\n".join([said, *lines])


def schedule_values(name: str, schedule: Schedule | float, counts: Any) -> np.ndarray:
    """The values at each of the counts, float64.

    Raises:
      ValueError: a schedule does not give one number for one count.
    """
    counts = np.asarray(counts, np.int32)
    if not callable(schedule):
        return np.full(counts.shape, float(schedule))
    values = jax.jit(jax.vmap(schedule))(jnp.asarray(counts))
    if values.shape != counts.shape:
        raise ValueError(
            f"expected the schedule {name!r} to give one number for one count, got shape "
            f"{values.shape[1:]}"
        )
    return np.asarray(values, np.float64)
