"""Reports made by hand, with every kind of row, for the tests of what is drawn from them."""

import math

from fnn.check.networks import Entry, NetworkReport
from fnn.check.reports.environment import Environment
from fnn.check.reports.report import Branch, Report, Row

METHODS = (
    "structure", "value", "reverse mode", "forward mode", "numerical", "linearity", "eager", "vmap",
    "scan", "remat", "second order", "full Jacobian", "complex step", "bfloat16", "float16",
)  # fmt: skip
WHERE = Environment("3.11.7", "0.10.2", "0.10.2", "2.4.6", "Linux x86_64", "cpu", "cpu")
NASTY = '<b onload="x">&\'[red]y[/red]'  # in a name: HTML, and markup of rich


def row(method="reverse mode", path="x", verdict="ok", **fields):
    filled = {
        "relative": 0.25 if verdict == "wrong" else 1e-14,
        "absolute": 0.5,
        "element": (2, 3),
        "hand": 1.5,
        "reference": 1.0,
        "tolerance": 1e-10,
        "predicate": "‖hand − reference‖ <= 1e-10 · max(‖reference‖, 1.2e-03), normal dy",
        **fields,
    }
    return Row(method=method, path=path, verdict=verdict, **filled)


def full_report(name="fused(4)", leaves=("params/w", "params/b", "x")):
    """Right in `params/b`, wrong in `params/w` in several methods, open in `x`."""
    special = {
        ("reverse mode", "params/w"): {"verdict": "wrong", "likely": "a constant factor of 1.5"},
        ("second order", "params/w"): {"verdict": "wrong", "relative": math.nan, "hand": math.nan},
        ("full Jacobian", "params/w"): {
            "verdict": "wrong",
            "relative": math.inf,
            "hand": -math.inf,
        },
        ("vmap", "params/w"): {"verdict": "wrong"},
        ("numerical", "x"): {"verdict": "undecided", "relative": 0.3},
        ("complex step", "x"): {"verdict": "kink", "relative": 1.0},
        ("structure", "params/w"): {
            "hand": "float64[4]",
            "reference": "float64[4]",
            "element": None,
        },
    }
    rows = [row(m, leaf, **special.get((m, leaf), {})) for leaf in leaves for m in METHODS]
    branch = Branch("layers/pool.py:118", "select_n", "the true side", "x = -0.3 at (0, 4)")
    return Report(name, tuple(rows), (branch,), 7, WHERE)


def network_report():
    right = Report("relu", (row(), row("eager", tolerance=0.0, relative=0.0)), (), 7, WHERE)
    wrong = full_report()
    return NetworkReport(
        (
            Entry("trunk/block_1/body/convolution", "convolution(64, 3x3)", 36928, wrong),
            Entry("trunk/block_1/body/activation", "relu", 0, right),
            Entry("(whole)", "chain", 36928, right),
        )
    )
