"""Proof that a backward pass written by hand is right, leaf by leaf and in float64.

    report = check.layer(linear(3), x)        # or check.loss, or check.network for every layer of a net
    print(report)
    report.raise_if_failed()

The methods are functions of a `Trial` (a subject at one point, run once) and can be called alone.
"""

from fnn.check.contract import eager as eager
from fnn.check.contract import linearity as linearity
from fnn.check.contract import structure as structure
from fnn.check.differences import numerical as numerical
from fnn.check.forward import forward_mode as forward_mode
from fnn.check.networks import Entry as Entry
from fnn.check.networks import NetworkReport as NetworkReport
from fnn.check.networks import network as network
from fnn.check.precision import exact as exact
from fnn.check.report import GradientError as GradientError
from fnn.check.report import Report as Report
from fnn.check.report import Row as Row
from fnn.check.reverse import reverse_mode as reverse_mode
from fnn.check.subjects import layer as layer
from fnn.check.subjects import loss as loss
from fnn.check.subjects import trial_of as trial_of
from fnn.check.trial import Trial as Trial
