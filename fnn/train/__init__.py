"""Training: the state, one step, an epoch in one compiled call, the loop, and saved weights."""

from fnn.train import ensemble, population
from fnn.train.averages import averaged_params
from fnn.train.devices import distributed
from fnn.train.devices.collectives import Collective, collectives, collectives_table
from fnn.train.devices.mesh import mesh
from fnn.train.devices.rules import (
    Rule,
    data_parallel,
    fully_sharded,
    tensor_parallel_mlp,
    tensor_parallel_transformer,
)
from fnn.train.devices.shardings import MeshShardings, shardings
from fnn.train.epoch import epoch
from fnn.train.evaluate import Evaluation, evaluate
from fnn.train.feed import Source
from fnn.train.fit import Report, fit
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
from fnn.train.nonfinite import NonFiniteError
from fnn.train.once import RetraceError, jit_once
from fnn.train.options import Augmentation, Batch, StepOptions
from fnn.train.precision import LossScaled, ScaleState, loss_scaling
from fnn.train.range_test import RangeTest, range_table, range_test
from fnn.train.saving.checkpoints import (
    Checkpoints,
    Restored,
    SaveError,
    StepExistsError,
    checkpoints,
)
from fnn.train.saving.choice import DamagedCheckpointWarning
from fnn.train.saving.durable import FinishedRunWarning, durable
from fnn.train.saving.interrupt import Interrupted, Interruption, interruptible
from fnn.train.saving.run import Saved
from fnn.train.state import TrainState, copy, init
from fnn.train.step import Info, seen, step, step_function
from fnn.train.stopping import DivergenceStop, EarlyStopping, divergence_stop, early_stopping
from fnn.train.weights import Weights, load_weights, read_metadata, save_weights

__all__ = [
    "Augmentation",
    "Batch",
    "Calibration",
    "Checkpoints",
    "Collective",
    "Confusion",
    "DamagedCheckpointWarning",
    "DivergenceStop",
    "EarlyStopping",
    "Evaluation",
    "FinishedRunWarning",
    "Info",
    "Interrupted",
    "Interruption",
    "LossScaled",
    "MeshShardings",
    "NonFiniteError",
    "RangeTest",
    "Reduction",
    "Report",
    "Restored",
    "RetraceError",
    "Rule",
    "SaveError",
    "Saved",
    "ScaleState",
    "Source",
    "StepExistsError",
    "StepOptions",
    "TrainState",
    "Weights",
    "accuracy",
    "averaged_params",
    "brier",
    "calibration",
    "checkpoints",
    "collectives",
    "collectives_table",
    "confusion",
    "confusion_matrix",
    "copy",
    "data_parallel",
    "distributed",
    "divergence_stop",
    "durable",
    "early_stopping",
    "ensemble",
    "epoch",
    "evaluate",
    "fit",
    "fully_sharded",
    "init",
    "interruptible",
    "jit_once",
    "load_weights",
    "loss_scaling",
    "mean_of",
    "mesh",
    "negative_log_likelihood",
    "population",
    "range_table",
    "range_test",
    "read_metadata",
    "save_weights",
    "seen",
    "shardings",
    "step",
    "step_function",
    "tensor_parallel_mlp",
    "tensor_parallel_transformer",
    "top_k",
]
