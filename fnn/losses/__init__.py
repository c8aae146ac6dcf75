"""Losses, one value an example; each with its backward pass by hand."""

from fnn.losses.cross_entropy import softmax_cross_entropy
from fnn.losses.ctc import CTCTarget, ctc
from fnn.losses.hinge import hinge
from fnn.losses.initial import expected_initial_loss
from fnn.losses.logistic import binary_focal, binary_logistic, softmax_focal
from fnn.losses.loss import Loss
from fnn.losses.probability import cross_entropy, kl_divergence
from fnn.losses.projection import Projected, projection
from fnn.losses.regression import absolute_error, huber, log_cosh, squared_error
from fnn.losses.similarity import cosine_distance, nt_xent, triplet
from fnn.losses.vocabulary import linear_softmax_cross_entropy

__all__ = [
    "CTCTarget",
    "Loss",
    "Projected",
    "absolute_error",
    "binary_focal",
    "binary_logistic",
    "cosine_distance",
    "cross_entropy",
    "ctc",
    "expected_initial_loss",
    "hinge",
    "huber",
    "kl_divergence",
    "linear_softmax_cross_entropy",
    "log_cosh",
    "nt_xent",
    "projection",
    "softmax_cross_entropy",
    "softmax_focal",
    "squared_error",
    "triplet",
]
