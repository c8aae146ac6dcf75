"""Seeing what a network is and what it learned; plotting libraries are needed by `plots` alone."""

from fnn.diagnostics import plots, report
from fnn.diagnostics.curvature import (
    gradient_sharpness,
    hessian_density,
    hessian_eigenvalues,
    hessian_trace,
)
from fnn.diagnostics.curvature_results import Density, Eigenvalues, Sharpness
from fnn.diagnostics.dead_units import DeadUnits, dead_units
from fnn.diagnostics.doctor import Budget, Diagnosis, Verdict, doctor
from fnn.diagnostics.filters import first_layer_filters
from fnn.diagnostics.findings import Finding, Limits, findings
from fnn.diagnostics.flops import count_flops, flops_by_call
from fnn.diagnostics.health import health
from fnn.diagnostics.health_results import Health, LayerHealth
from fnn.diagnostics.lanczos import Lanczos, Trace, hutch_plus_plus, hutchinson, lanczos
from fnn.diagnostics.loss_directions import (
    PathPlane,
    along_and_across,
    filter_normalized,
    path_plane,
)
from fnn.diagnostics.loss_slice import LossLine, LossPlane, loss_along, loss_on_plane
from fnn.diagnostics.memory import memory, remat_at
from fnn.diagnostics.memory_results import Memory, MemoryRow, XlaMemory
from fnn.diagnostics.noise_scale import NoiseScale, gradient_noise, noise_scale
from fnn.diagnostics.per_example import ExampleNorms, per_example_norms
from fnn.diagnostics.saliency import saliency
from fnn.diagnostics.spectrum import Rank, effective_rank
from fnn.diagnostics.statistics import Statistics, histogram_text, statistics
from fnn.diagnostics.summary import Summary, SummaryRow, summary
from fnn.diagnostics.symmetry import SymmetryReport, symmetry
from fnn.diagnostics.updates import UpdateRatios, step_ratios, update_ratios
from fnn.train.nonfinite import first_nonfinite

__all__ = [
    "Budget",
    "DeadUnits",
    "Density",
    "Diagnosis",
    "Eigenvalues",
    "ExampleNorms",
    "Finding",
    "Health",
    "Lanczos",
    "LayerHealth",
    "Limits",
    "LossLine",
    "LossPlane",
    "Memory",
    "MemoryRow",
    "NoiseScale",
    "PathPlane",
    "Rank",
    "Sharpness",
    "Statistics",
    "Summary",
    "SummaryRow",
    "SymmetryReport",
    "Trace",
    "UpdateRatios",
    "Verdict",
    "XlaMemory",
    "along_and_across",
    "count_flops",
    "dead_units",
    "doctor",
    "effective_rank",
    "filter_normalized",
    "findings",
    "first_layer_filters",
    "first_nonfinite",
    "flops_by_call",
    "gradient_noise",
    "gradient_sharpness",
    "health",
    "hessian_density",
    "hessian_eigenvalues",
    "hessian_trace",
    "histogram_text",
    "hutch_plus_plus",
    "hutchinson",
    "lanczos",
    "loss_along",
    "loss_on_plane",
    "memory",
    "noise_scale",
    "path_plane",
    "per_example_norms",
    "plots",
    "remat_at",
    "report",
    "saliency",
    "statistics",
    "step_ratios",
    "summary",
    "symmetry",
    "update_ratios",
]
