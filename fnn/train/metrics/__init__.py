"""How good predictions are: a number an example, and what is gathered over many batches."""

from fnn.train.metrics.classes import Calibration as Calibration
from fnn.train.metrics.classes import Confusion as Confusion
from fnn.train.metrics.classes import brier as brier
from fnn.train.metrics.classes import calibration as calibration
from fnn.train.metrics.classes import confusion as confusion
from fnn.train.metrics.classes import negative_log_likelihood as negative_log_likelihood
from fnn.train.metrics.classes import top_k as top_k
from fnn.train.metrics.scores import accuracy as accuracy
from fnn.train.metrics.scores import confusion_matrix as confusion_matrix
from fnn.train.metrics.streaming import Reduction as Reduction
from fnn.train.metrics.streaming import mean_of as mean_of
