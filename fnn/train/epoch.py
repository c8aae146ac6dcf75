"""Many steps in one compiled call, over data that already lies on the device."""

from collections.abc import Callable
from typing import Unpack

import jax

from fnn.batch import steps_per_epoch
from fnn.layer import Layer
from fnn.losses import Loss
from fnn.train.batches import batch_indices
from fnn.train.examples import example_count, take
from fnn.train.once import jit_once
from fnn.train.options import Batch, StepOptions
from fnn.train.precision import AnyOptimizer
from fnn.train.state import TrainState, check_single
from fnn.train.step import Info, step_function


def epoch(
    net: Layer,
    loss: Loss,
    optimizer: AnyOptimizer,
    *,
    batch_size: int | None,
    steps: int | None = None,
    **options: Unpack[StepOptions],
) -> Callable[[TrainState, Batch], tuple[TrainState, Info]]:
    """``epoch(train_state, (x, target)) -> (train_state, infos)``: one scan over all batches.

    The examples (x, target) are the whole training set; each step gathers the batch that
    `batches.batch_indices` gives for its step number, so that the epochs are shuffled, every call
    continues where the last one ended, and a run that is resumed sees the batches it would have seen.
    The state that goes in is donated. A step that is not finite (see `step`) is not made, so that the
    next one is the same step again, on the same batch, and not made either: the state that comes out is
    the last one that passed `step`'s look, and `infos.finite` is False from there on.

    Args:
      net: the network.
      loss: the loss of an example.
      optimizer: an optimizer or a minimizer, see `fnn.optimizers`.
      batch_size: examples a step: 1 for online learning, None for full-batch descent, whose every step
        sees all examples as they lie, without a shuffle or a copy.
      steps: steps a call, at least one; None for one whole epoch, `len(x) // batch_size`, which is a
        single step of full-batch descent.
      options: as for `step`.

    Raises:
      ValueError: no examples, or fewer than a batch; or less than one step.
      RetraceError: on a call with other shapes or dtypes than the first one's.
    """
    if steps is not None and steps < 1:
        raise ValueError(f"expected at least one step a call, or None for an epoch, got {steps}")
    advance = step_function(net, loss, optimizer, **options)

    def function(train_state: TrainState, examples: Batch) -> tuple[TrainState, Info]:
        check_single(train_state, "train.epoch")
        count = example_count(examples)
        whole = steps_per_epoch(count, count if batch_size is None else batch_size)

        def body(train_state: TrainState, _: None) -> tuple[TrainState, Info]:
            if batch_size is None:
                return advance(train_state, examples)
            indices = batch_indices(train_state.key, train_state.step, count, batch_size)
            return advance(train_state, take(examples, indices))

        length = whole if steps is None else steps
        if length == 1:
            # Without a loop: in the body of one, the convolutions that autodiff writes (gradient="auto"
            # and "both") take a path of XLA:CPU that is many times slower, even for a single round.
            train_state, info = body(train_state, None)
            return train_state, jax.tree.map(lambda leaf: leaf[None], info)
        return jax.lax.scan(body, train_state, None, length=length)

    return jit_once("train.epoch", function, donate_argnums=0)
