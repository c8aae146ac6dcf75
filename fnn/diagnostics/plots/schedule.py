"""What schedules give, count by count."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from fnn.diagnostics.plots.colours import BLUE, MUTED, VERMILLION
from fnn.diagnostics.plots.figure import empty_figure, plain
from fnn.optimizers.hyperparameters import Schedule
from fnn.optimizers.schedules.table import schedule_values

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def schedules(schedules: Mapping[str, Schedule | float], steps: int) -> "Figure":
    """Each schedule over its first `steps` counts and the one after: a panel each, on one axis of counts.

    The first and the last step's value and the largest are marked, with their numbers above; see
    `fnn.optimizers.schedules.table` for what a count is, and for `schedule_table`, the text twin.

    Raises:
      ValueError: there is no schedule, no step, or a schedule does not give one number for one count.
    """
    if not schedules or steps < 1:
        raise ValueError(f"expected a schedule and a step at least, got {len(schedules)}, {steps}")
    counts = np.unique(np.linspace(0, steps, 2001).round().astype(np.int64))
    figure = empty_figure(8.0, 0.5 + 2.1 * len(schedules))
    panels = figure.subplots(len(schedules), 1, squeeze=False, sharex=True)[:, 0]
    for axes, (name, schedule) in zip(panels, schedules.items(), strict=True):
        values = schedule_values(name, schedule, counts)
        axes.plot(counts, values, color=BLUE, linewidth=1.6)
        last = int(np.searchsorted(counts, steps - 1))
        marked = sorted({0, int(values[: last + 1].argmax()), last})
        style = {"color": VERMILLION, "linewidth": 0, "marker": "o", "markersize": 5}
        axes.plot(counts[marked], values[marked], **style)
        said = ",  ".join(f"{values[i]:.4g} at {counts[i]}" for i in marked)
        axes.set_title(name, loc="left")
        axes.set_title(said, loc="right", fontsize=9, color=MUTED)
        plain(axes)
    panels[-1].set_xlabel("steps already made")
    return figure
