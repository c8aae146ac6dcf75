"""Optimizers: pure state transitions, and the transforms and schedules that they are made of."""

from fnn.optimizers.adam import adam as adam
from fnn.optimizers.adam import scale_by_moments as scale_by_moments
from fnn.optimizers.descent import descend as descend
from fnn.optimizers.descent import momentum as momentum
from fnn.optimizers.descent import nesterov as nesterov
from fnn.optimizers.descent import sgd as sgd
from fnn.optimizers.descent import trace as trace
from fnn.optimizers.hyperparameters import with_hyperparameters as with_hyperparameters
from fnn.optimizers.leafwise import leafwise as leafwise
from fnn.optimizers.optimizer import Optimizer as Optimizer
from fnn.optimizers.optimizer import apply_updates as apply_updates
from fnn.optimizers.optimizer import compose as compose
from fnn.optimizers.schedules import constant as constant
from fnn.optimizers.schedules import cosine_with_warmup as cosine_with_warmup
