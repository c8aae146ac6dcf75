"""Containers: each takes layers and returns a layer."""

from fnn.compose.chain import chain as chain
from fnn.compose.parallel import parallel as parallel
from fnn.compose.residual import residual as residual
