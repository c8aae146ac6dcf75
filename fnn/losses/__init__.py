"""Losses, one value an example; each with its backward pass by hand."""

from fnn.losses.cross_entropy import softmax_cross_entropy as softmax_cross_entropy
from fnn.losses.ctc import CTCTarget as CTCTarget
from fnn.losses.ctc import ctc as ctc
from fnn.losses.hinge import hinge as hinge
from fnn.losses.initial import expected_initial_loss as expected_initial_loss
from fnn.losses.logistic import binary_focal as binary_focal
from fnn.losses.logistic import binary_logistic as binary_logistic
from fnn.losses.logistic import softmax_focal as softmax_focal
from fnn.losses.loss import Loss as Loss
from fnn.losses.probability import cross_entropy as cross_entropy
from fnn.losses.probability import kl_divergence as kl_divergence
from fnn.losses.projection import Projected as Projected
from fnn.losses.projection import projection as projection
from fnn.losses.regression import absolute_error as absolute_error
from fnn.losses.regression import huber as huber
from fnn.losses.regression import log_cosh as log_cosh
from fnn.losses.regression import squared_error as squared_error
from fnn.losses.similarity import cosine_distance as cosine_distance
from fnn.losses.similarity import nt_xent as nt_xent
from fnn.losses.similarity import triplet as triplet
from fnn.losses.vocabulary import linear_softmax_cross_entropy as linear_softmax_cross_entropy
