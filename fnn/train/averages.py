"""Which parameters of a train state are evaluated, saved and published, if not those in training."""

from fnn.layer import PyTree
from fnn.optimizers import averaged
from fnn.train.state import TrainState


def averaged_params(train_state: TrainState) -> PyTree:
    """The average that the optimizer keeps (see `fnn.optimizers.averaged`), for ``fit(evaluate_with=…)``.

    Of a schedule-free optimizer, ``lambda s: optimizers.averaged_parameters(s.optimizer, s.params)``.

    Raises:
      ValueError: the optimizer keeps none.
    """
    return averaged(train_state.optimizer, train_state.params)
