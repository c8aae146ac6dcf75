"""How good predictions are: a number an example, and what is gathered over many batches."""

from fnn.train.metrics.classes import (
    Calibration,
    Confusion,
    brier,
    calibration,
    confusion,
    negative_log_likelihood,
    top_k,
)
from fnn.train.metrics.scores import accuracy, confusion_matrix
from fnn.train.metrics.streaming import Reduction, mean_of

__all__ = [
    "Calibration",
    "Confusion",
    "Reduction",
    "accuracy",
    "brier",
    "calibration",
    "confusion",
    "confusion_matrix",
    "mean_of",
    "negative_log_likelihood",
    "top_k",
]
