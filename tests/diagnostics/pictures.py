"""One of each picture, with its text twin, of numbers made by hand, for tests of pictures and pages."""

from functools import cache

import jax.numpy as jnp
import numpy as np

from fnn.diagnostics import plots
from fnn.diagnostics.loss_slice import LossLine, LossPlane
from fnn.optimizers import schedules
from fnn.optimizers.schedules import schedule_table

CLASSES = ("cat", "dog", "owl")
COUNTS = np.array([[8, 0, 2], [0, 9, 0], [1, 0, 0]])
# The notes' four points of "exclusive or", and where two thresholds of x₁ - x₂ move them.
XOR = np.array([[1, 1], [-1, -1], [-1, 1], [1, -1]], np.float32)
XOR_LABELS = np.array([0, 0, 1, 1])
XOR_HIDDEN = np.array([[1, 0], [1, 0], [0, 0], [1, 1]], np.float32)
XOR_LINE = plots.Line(np.array([1.0, -1.0]), -0.5)  # class 0 above: h₁ - h₂ > 1/2

TARGET = np.array([0, 1, 2, 0, 1])
PROBABILITIES = np.array(
    [[0.9, 0.05, 0.05], [0.5, 0.4, 0.1], [0.3, 0.69, 0.01], [0.1, 0.2, 0.7], [0.0, 1.0, 0.0]]
)


def course(n, start=0.0):
    at = start + np.arange(1, n + 1) / 10
    return plots.Course(at, np.exp(-at), 1 - np.exp(-at))


def xor_scores(points):
    """Above 0 in the second and fourth quadrant."""
    return -np.asarray(points)[:, 0] * np.asarray(points)[:, 1]


def both(name, /, *args, **options):
    """The picture and its text twin, made from the same numbers."""
    picture, twin = getattr(plots, name), getattr(plots, f"{name}_text")
    return picture(*args, **options), twin(*args, **options)


@cache
def every_picture():
    """name -> (figure, text); made once, and not to be changed."""
    rng = np.random.default_rng(0)
    images = rng.random((5, 6, 6))
    at = np.arange(10)
    runs = {"sgd": np.exp(-rng.random((3, 10))), "adam": np.exp(-1 - rng.random((4, 10)))}
    counts = rng.integers(0, 20, (10, 7)) * (np.arange(7) > 0)
    edges = np.array([-np.inf, -1, -0.1, 0, 0.1, 1, 10, np.inf])
    confidence, right = np.array([0.3, np.nan, 0.9]), np.array([0.4, np.nan, 0.7])
    maps = rng.random((6, 6, 3))
    grid = np.linspace(-1, 1, 9)
    losses = 0.01 + grid[:, None] ** 2 + 3 * grid**2
    losses[0, 0] = np.nan
    rate = {"rate": schedules.cosine(0.1, 20)}
    return {
        "curves": both("curves", course(50), course(5)),
        "seeds": both("seeds", at, runs, unit="epoch"),
        "histograms": both("histograms", at, counts, edges, name="hidden/w"),
        "confusion": both("confusion", COUNTS, CLASSES),
        "reliability": both("reliability", confidence, right, np.array([10.0, 0, 30])),
        "filters": both("filters", rng.normal(size=(9, 3, 3)), "first layer"),
        "mistakes": (
            plots.mistakes(images, TARGET, PROBABILITIES, CLASSES),
            plots.mistakes_text(TARGET, PROBABILITIES, CLASSES),
        ),
        "activation_maps": both("activation_maps", maps, "conv"),
        "saliency": both("saliency", images[:2], images[3:], ["cat", "dog"]),
        "decision_boundary": both(
            "decision_boundary", xor_scores, XOR, XOR_LABELS, ["same", "different"]
        ),
        "hidden_space": both(
            "hidden_space", XOR, XOR_HIDDEN, XOR_LABELS, ["same", "different"], line=XOR_LINE
        ),
        "loss_line": (
            plots.loss_line(grid, losses[4]),
            str(LossLine(jnp.asarray(grid), jnp.asarray(losses[4]))),
        ),
        "loss_plane": (
            plots.loss_plane(grid, grid, losses, path=np.array([[-0.9, 0.5], [0, 0]])),
            str(LossPlane(jnp.asarray(grid), jnp.asarray(grid), jnp.asarray(losses))),
        ),
        "schedules": (plots.schedules(rate, 20), schedule_table(rate, 20)),
    }
