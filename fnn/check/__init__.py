"""Proof that a backward pass written by hand is right, leaf by leaf and in float64.

    report = check.layer(linear(3), x)        # or loss, network (every layer of a net), function (any)
    print(report)
    report.raise_if_wrong()

The methods are functions of a `Trial` (a subject at one point, run once) and can be called alone.
`mutation_score` measures what the checker itself would find.
"""

from fnn.check.battery import AT_SIZE, METHODS
from fnn.check.branches.cover import Coverage, cover
from fnn.check.branches.coverage import coverage
from fnn.check.diagnosis import diagnose
from fnn.check.functions.function import function
from fnn.check.methods.complex_step import complex_step
from fnn.check.methods.contract import deterministic, eager, linearity, structure
from fnn.check.methods.differences import numerical
from fnn.check.methods.forward import forward_mode
from fnn.check.methods.jacobian import jacobian
from fnn.check.methods.kinks import kinks
from fnn.check.methods.low_precision import low_precision
from fnn.check.methods.one_sided import one_sided
from fnn.check.methods.reverse import reverse_mode
from fnn.check.methods.second_order import second_order
from fnn.check.methods.transforms import transforms
from fnn.check.mutation import MutationReport, mutation_score, mutation_score_of_loss
from fnn.check.networks import Entry, NetworkReport, network
from fnn.check.points import Point, structured_points
from fnn.check.precision import exact
from fnn.check.reports.report import Branch, GradientError, Report, Row
from fnn.check.subjects import layer, loss, trial_of
from fnn.check.testing import assert_gradients
from fnn.check.trial import Trial

__all__ = [
    "AT_SIZE",
    "METHODS",
    "Branch",
    "Coverage",
    "Entry",
    "GradientError",
    "MutationReport",
    "NetworkReport",
    "Point",
    "Report",
    "Row",
    "Trial",
    "assert_gradients",
    "complex_step",
    "cover",
    "coverage",
    "deterministic",
    "diagnose",
    "eager",
    "exact",
    "forward_mode",
    "function",
    "jacobian",
    "kinks",
    "layer",
    "linearity",
    "loss",
    "low_precision",
    "mutation_score",
    "mutation_score_of_loss",
    "network",
    "numerical",
    "one_sided",
    "reverse_mode",
    "second_order",
    "structure",
    "structured_points",
    "transforms",
    "trial_of",
]
