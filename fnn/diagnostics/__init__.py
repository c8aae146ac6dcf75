"""Seeing what a network is and what it learned; plotting libraries are needed by `plots` alone."""

from fnn.diagnostics import plots as plots
from fnn.diagnostics.filters import first_layer_filters as first_layer_filters
from fnn.diagnostics.flops import count_flops as count_flops
from fnn.diagnostics.flops import flops_by_call as flops_by_call
from fnn.diagnostics.summary import Summary as Summary
from fnn.diagnostics.summary import SummaryRow as SummaryRow
from fnn.diagnostics.summary import summary as summary
from fnn.diagnostics.symmetry import SymmetryReport as SymmetryReport
from fnn.diagnostics.symmetry import symmetry as symmetry
