"""Proof that a backward pass written by hand is right, leaf by leaf and in float64.

    report = check.layer(linear(3), x)        # or loss, network (every layer of a net), function (any)
    print(report)
    report.raise_if_wrong()

The methods are functions of a `Trial` (a subject at one point, run once) and can be called alone.
`mutation_score` measures what the checker itself would find.
"""

from fnn.check.battery import AT_SIZE as AT_SIZE
from fnn.check.battery import METHODS as METHODS
from fnn.check.branches.cover import Coverage as Coverage
from fnn.check.branches.cover import cover as cover
from fnn.check.branches.coverage import coverage as coverage
from fnn.check.diagnosis import diagnose as diagnose
from fnn.check.functions.function import function as function
from fnn.check.methods.complex_step import complex_step as complex_step
from fnn.check.methods.contract import deterministic as deterministic
from fnn.check.methods.contract import eager as eager
from fnn.check.methods.contract import linearity as linearity
from fnn.check.methods.contract import structure as structure
from fnn.check.methods.differences import numerical as numerical
from fnn.check.methods.forward import forward_mode as forward_mode
from fnn.check.methods.jacobian import jacobian as jacobian
from fnn.check.methods.kinks import kinks as kinks
from fnn.check.methods.low_precision import low_precision as low_precision
from fnn.check.methods.one_sided import one_sided as one_sided
from fnn.check.methods.reverse import reverse_mode as reverse_mode
from fnn.check.methods.second_order import second_order as second_order
from fnn.check.methods.transforms import transforms as transforms
from fnn.check.mutation import MutationReport as MutationReport
from fnn.check.mutation import mutation_score as mutation_score
from fnn.check.mutation import mutation_score_of_loss as mutation_score_of_loss
from fnn.check.networks import Entry as Entry
from fnn.check.networks import NetworkReport as NetworkReport
from fnn.check.networks import network as network
from fnn.check.points import Point as Point
from fnn.check.points import structured_points as structured_points
from fnn.check.precision import exact as exact
from fnn.check.reports.report import Branch as Branch
from fnn.check.reports.report import GradientError as GradientError
from fnn.check.reports.report import Report as Report
from fnn.check.reports.report import Row as Row
from fnn.check.subjects import layer as layer
from fnn.check.subjects import loss as loss
from fnn.check.subjects import trial_of as trial_of
from fnn.check.testing import assert_gradients as assert_gradients
from fnn.check.trial import Trial as Trial
