"""Pictures of a training run, as matplotlib figures: nothing is shown, no global state is touched.

    figure = plots.confusion(counts, classes)
    plots.save(figure, "runs/mnist/confusion.png")
    print(plots.confusion_text(counts, classes))    # the same for a terminal, or a reader of screens

All functions take NumPy arrays (`schedules` takes functions of a count, `decision_boundary` a function of
points) and return a `matplotlib.figure.Figure` with an Agg canvas of its own, so they work without a
display and in any thread. Each has a text twin by its name with `_text`; that of `schedules` is
`fnn.optimizers.schedules.schedule_table`, those of `loss_line` and `loss_plane` are the ``str()`` of
`LossLine` and `LossPlane`. What the colours are: see `fnn.diagnostics.plots.colours`.
"""

from fnn.diagnostics.plots.classes import confusion, confusion_text, reliability, reliability_text
from fnn.diagnostics.plots.curves import (
    Band,
    Course,
    band,
    curves,
    curves_text,
    seeds,
    seeds_text,
    smoothed,
)
from fnn.diagnostics.plots.distributions import histograms, histograms_text
from fnn.diagnostics.plots.figure import png, save
from fnn.diagnostics.plots.images import (
    activation_maps,
    activation_maps_text,
    filters,
    filters_text,
    mistakes,
    mistakes_text,
    saliency,
    saliency_text,
)
from fnn.diagnostics.plots.landscape import loss_line, loss_plane
from fnn.diagnostics.plots.plane import (
    Line,
    decision_boundary,
    decision_boundary_text,
    hidden_space,
    hidden_space_text,
)
from fnn.diagnostics.plots.schedule import schedules
from fnn.diagnostics.plots.text import sparkline

__all__ = [
    "Band",
    "Course",
    "Line",
    "activation_maps",
    "activation_maps_text",
    "band",
    "confusion",
    "confusion_text",
    "curves",
    "curves_text",
    "decision_boundary",
    "decision_boundary_text",
    "filters",
    "filters_text",
    "hidden_space",
    "hidden_space_text",
    "histograms",
    "histograms_text",
    "loss_line",
    "loss_plane",
    "mistakes",
    "mistakes_text",
    "png",
    "reliability",
    "reliability_text",
    "saliency",
    "saliency_text",
    "save",
    "schedules",
    "seeds",
    "seeds_text",
    "smoothed",
    "sparkline",
]
