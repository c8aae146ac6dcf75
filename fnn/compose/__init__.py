"""Containers: each takes layers and returns a layer."""

from fnn.compose.bidirectional import bidirectional as bidirectional
from fnn.compose.chain import chain as chain
from fnn.compose.concatenate import concatenate as concatenate
from fnn.compose.frozen import frozen as frozen
from fnn.compose.graph import graph as graph
from fnn.compose.mixed import mixed as mixed
from fnn.compose.over_time import over_time as over_time
from fnn.compose.parallel import parallel as parallel
from fnn.compose.remat import remat as remat
from fnn.compose.repeat import repeat as repeat
from fnn.compose.residual import residual as residual
from fnn.compose.shared import shared as shared
from fnn.compose.shared import transposed as transposed
from fnn.compose.stochastic_depth import linear_decay as linear_decay
from fnn.compose.stochastic_depth import stochastic_depth as stochastic_depth
from fnn.compose.switch import conditional as conditional
