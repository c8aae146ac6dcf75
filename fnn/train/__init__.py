"""Training: the state, one step, an epoch in one compiled call, the loop, and saved weights."""

from fnn.train.epoch import epoch as epoch
from fnn.train.evaluate import Evaluation as Evaluation
from fnn.train.evaluate import evaluate as evaluate
from fnn.train.fit import Report as Report
from fnn.train.fit import fit as fit
from fnn.train.metrics import accuracy as accuracy
from fnn.train.metrics import confusion_matrix as confusion_matrix
from fnn.train.nonfinite import NonFiniteError as NonFiniteError
from fnn.train.once import RetraceError as RetraceError
from fnn.train.once import jit_once as jit_once
from fnn.train.state import TrainState as TrainState
from fnn.train.state import copy as copy
from fnn.train.state import init as init
from fnn.train.step import Info as Info
from fnn.train.step import step as step
from fnn.train.step import step_function as step_function
from fnn.train.weights import Weights as Weights
from fnn.train.weights import load_weights as load_weights
from fnn.train.weights import read_metadata as read_metadata
from fnn.train.weights import save_weights as save_weights
