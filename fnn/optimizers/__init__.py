"""Optimizers: pure state transitions, and the transforms and schedules that they are made of."""

from fnn.optimizers import schedules
from fnn.optimizers.adam import adam, adamw, scale_by_moments
from fnn.optimizers.adam_variants import adabelief, adamax, amsgrad, yogi
from fnn.optimizers.adaptive import (
    adadelta,
    adagrad,
    rmsprop,
    scale_by_last_updates,
    scale_by_mean_square,
    scale_by_sum_of_squares,
)
from fnn.optimizers.descent import descend, momentum, nesterov, sgd, trace, velocity
from fnn.optimizers.factored import adafactor, relative_step, scale_by_factored_squares
from fnn.optimizers.hyperparameters import hyperparameters, with_hyperparameters
from fnn.optimizers.layerwise import lamb, lars, scale_by_trust_ratio
from fnn.optimizers.leafwise import leafwise
from fnn.optimizers.minimizers.bfgs import bfgs
from fnn.optimizers.minimizers.gauss_newton import (
    diagonal_newton,
    gauss_newton_diagonal,
    gauss_newton_product,
)
from fnn.optimizers.minimizers.line_search import Search, line_search
from fnn.optimizers.minimizers.minimizer import (
    ENDINGS,
    Minimizer,
    Minimum,
    Objective,
    Reached,
    as_minimizer,
    minimize,
)
from fnn.optimizers.minimizers.newton import newton_cg, newton_direction
from fnn.optimizers.minimizers.quasi_newton import lbfgs
from fnn.optimizers.minimizers.sharpness import sam
from fnn.optimizers.nadam import nadam
from fnn.optimizers.optimizer import Optimizer, apply_updates, compose
from fnn.optimizers.orthogonal import (
    muon,
    orthogonalize,
    resolve_matrices,
    scale_by_orthogonal_momentum,
)
from fnn.optimizers.radam import radam
from fnn.optimizers.rules import masked
from fnn.optimizers.schedule_free import averaged_parameters, schedule_free_adamw, schedule_free_sgd
from fnn.optimizers.sign import lion, rprop, sign_sgd, signs, signs_of_mean
from fnn.optimizers.transforms.accumulate import accumulate
from fnn.optimizers.transforms.averaging import (
    averaged,
    exponential_average,
    lookahead,
    uniform_average,
)
from fnn.optimizers.transforms.clipping import (
    clip_adaptively,
    clip_by_global_norm,
    clip_by_norm,
    clip_by_value,
)
from fnn.optimizers.transforms.decay import decay_weights
from fnn.optimizers.transforms.gradient_noise import add_noise, centralize
from fnn.optimizers.transforms.groups import freeze, groups, resolve, scale
from fnn.optimizers.transforms.guards import non_finite_leaf, skip_nonfinite, stop_after
from fnn.optimizers.transforms.penalties import (
    Penalty,
    add_penalty,
    elastic_net,
    l1,
    l2,
    penalized,
    project_max_norm,
    proximal_step,
)

__all__ = [
    "ENDINGS",
    "Minimizer",
    "Minimum",
    "Objective",
    "Optimizer",
    "Penalty",
    "Reached",
    "Search",
    "accumulate",
    "adabelief",
    "adadelta",
    "adafactor",
    "adagrad",
    "adam",
    "adamax",
    "adamw",
    "add_noise",
    "add_penalty",
    "amsgrad",
    "apply_updates",
    "as_minimizer",
    "averaged",
    "averaged_parameters",
    "bfgs",
    "centralize",
    "clip_adaptively",
    "clip_by_global_norm",
    "clip_by_norm",
    "clip_by_value",
    "compose",
    "decay_weights",
    "descend",
    "diagonal_newton",
    "elastic_net",
    "exponential_average",
    "freeze",
    "gauss_newton_diagonal",
    "gauss_newton_product",
    "groups",
    "hyperparameters",
    "l1",
    "l2",
    "lamb",
    "lars",
    "lbfgs",
    "leafwise",
    "line_search",
    "lion",
    "lookahead",
    "masked",
    "minimize",
    "momentum",
    "muon",
    "nadam",
    "nesterov",
    "newton_cg",
    "newton_direction",
    "non_finite_leaf",
    "orthogonalize",
    "penalized",
    "project_max_norm",
    "proximal_step",
    "radam",
    "relative_step",
    "resolve",
    "resolve_matrices",
    "rmsprop",
    "rprop",
    "sam",
    "scale",
    "scale_by_factored_squares",
    "scale_by_last_updates",
    "scale_by_mean_square",
    "scale_by_moments",
    "scale_by_orthogonal_momentum",
    "scale_by_sum_of_squares",
    "scale_by_trust_ratio",
    "schedule_free_adamw",
    "schedule_free_sgd",
    "schedules",
    "sgd",
    "sign_sgd",
    "signs",
    "signs_of_mean",
    "skip_nonfinite",
    "stop_after",
    "trace",
    "uniform_average",
    "velocity",
    "with_hyperparameters",
    "yogi",
]
