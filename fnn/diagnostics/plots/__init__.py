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

from fnn.diagnostics.plots.classes import confusion as confusion
from fnn.diagnostics.plots.classes import confusion_text as confusion_text
from fnn.diagnostics.plots.classes import reliability as reliability
from fnn.diagnostics.plots.classes import reliability_text as reliability_text
from fnn.diagnostics.plots.curves import Band as Band
from fnn.diagnostics.plots.curves import Course as Course
from fnn.diagnostics.plots.curves import band as band
from fnn.diagnostics.plots.curves import curves as curves
from fnn.diagnostics.plots.curves import curves_text as curves_text
from fnn.diagnostics.plots.curves import seeds as seeds
from fnn.diagnostics.plots.curves import seeds_text as seeds_text
from fnn.diagnostics.plots.curves import smoothed as smoothed
from fnn.diagnostics.plots.distributions import histograms as histograms
from fnn.diagnostics.plots.distributions import histograms_text as histograms_text
from fnn.diagnostics.plots.figure import png as png
from fnn.diagnostics.plots.figure import save as save
from fnn.diagnostics.plots.images import activation_maps as activation_maps
from fnn.diagnostics.plots.images import activation_maps_text as activation_maps_text
from fnn.diagnostics.plots.images import filters as filters
from fnn.diagnostics.plots.images import filters_text as filters_text
from fnn.diagnostics.plots.images import mistakes as mistakes
from fnn.diagnostics.plots.images import mistakes_text as mistakes_text
from fnn.diagnostics.plots.images import saliency as saliency
from fnn.diagnostics.plots.images import saliency_text as saliency_text
from fnn.diagnostics.plots.landscape import loss_line as loss_line
from fnn.diagnostics.plots.landscape import loss_plane as loss_plane
from fnn.diagnostics.plots.plane import Line as Line
from fnn.diagnostics.plots.plane import decision_boundary as decision_boundary
from fnn.diagnostics.plots.plane import decision_boundary_text as decision_boundary_text
from fnn.diagnostics.plots.plane import hidden_space as hidden_space
from fnn.diagnostics.plots.plane import hidden_space_text as hidden_space_text
from fnn.diagnostics.plots.schedule import schedules as schedules
from fnn.diagnostics.plots.text import sparkline as sparkline
