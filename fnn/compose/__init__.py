"""Containers: each takes layers and returns a layer."""

from fnn.compose.bidirectional import bidirectional
from fnn.compose.chain import chain
from fnn.compose.concatenate import concatenate
from fnn.compose.frozen import frozen
from fnn.compose.graph import graph
from fnn.compose.mixed import mixed
from fnn.compose.over_time import over_time
from fnn.compose.parallel import parallel
from fnn.compose.remat import remat
from fnn.compose.repeat import repeat
from fnn.compose.residual import residual
from fnn.compose.shared import shared, transposed
from fnn.compose.stochastic_depth import linear_decay, stochastic_depth
from fnn.compose.switch import conditional

__all__ = [
    "bidirectional",
    "chain",
    "concatenate",
    "conditional",
    "frozen",
    "graph",
    "linear_decay",
    "mixed",
    "over_time",
    "parallel",
    "remat",
    "repeat",
    "residual",
    "shared",
    "stochastic_depth",
    "transposed",
]
