"""The training loop: a generator that hands back control after every compiled call."""

import time
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from fnn.layer import Layer
from fnn.losses import Loss
from fnn.optimizers import Optimizer
from fnn.train.batches import batch_indices, steps_per_epoch
from fnn.train.epoch import epoch, example_count, take
from fnn.train.evaluate import Evaluation, evaluate
from fnn.train.nonfinite import NonFiniteError, first_nonfinite
from fnn.train.state import TrainState, copy, step_key
from fnn.train.step import Batch, Gradient, Info, Metric


class Report(NamedTuple):
    """What one compiled call did. Yours to keep: no later call takes its memory."""

    train_state: TrainState
    info: Info  # one entry a step of this call, as numpy arrays
    steps: int  # made so far, in all
    epochs: float  # the same in epochs
    evaluation: Evaluation | None  # on the validation set, when an epoch has ended
    seconds: float  # that the training call took, compilation included the first time


def fit(
    net: Layer,
    loss: Loss,
    optimizer: Optimizer,
    train_state: TrainState,
    examples: Batch,
    *,
    epochs: int,
    batch_size: int,
    validation: Batch | None = None,
    gradient: Gradient = "hand",
    metrics: Mapping[str, Metric] | None = None,
    steps_per_call: int | None = None,
) -> Iterator[Report]:
    """Train for `epochs` epochs and yield a `Report` after every one of them.

        for report in fit(net, loss, adam(), train_state, (x, labels), epochs=10, batch_size=128):
            print(report.epochs, report.info.loss.mean())

    Stop by leaving the loop; go on later from ``report.train_state``, with the batches that would have
    come. `train_state` itself is not consumed. The examples are moved to the device once.

    Args:
      net: the network.
      loss: the loss of an example.
      optimizer: see `fnn.optimizers`.
      train_state: from `train.init`, or from an earlier report.
      examples: (x, target) to train on.
      epochs: how many times through the examples, in whole batches.
      batch_size: examples a step.
      validation: (x, target) to evaluate on whenever an epoch has ended.
      gradient: as for `train.step`.
      metrics: as for `train.step`, and evaluated on the validation set as well.
      steps_per_call: yield after about so many steps instead: the nearest divisor of all steps, so
        that one compilation serves every call.

    Raises:
      ValueError: no examples, fewer than a batch, or counts that make no sense.
      NonFiniteError: a loss or gradient was not finite. It names the first layer whose output or
        gradient was not, and holds the last good `train_state`.
    """
    examples, validation = jax.tree.map(jnp.asarray, (examples, validation))
    count = example_count(examples)
    per_epoch = steps_per_epoch(count, batch_size)
    if epochs < 1:
        raise ValueError(f"expected at least one epoch, got {epochs}")
    total = epochs * per_epoch
    per_call = per_epoch if steps_per_call is None else nearest_divisor(total, steps_per_call)
    run = epoch(
        net,
        loss,
        optimizer,
        batch_size=batch_size,
        steps=per_call,
        gradient=gradient,
        metrics=metrics,
    )
    judge = evaluate(net, loss, batch_size=max(batch_size, 256), metrics=metrics)
    train_state = copy(train_state)  # the caller's own is not donated
    for made in range(per_call, total + 1, per_call):
        start = time.perf_counter()
        train_state, info = jax.block_until_ready(run(train_state, examples))
        seconds = time.perf_counter() - start
        info = jax.tree.map(np.asarray, info)
        if not info.finite.all():
            raise _failure(net, loss, train_state, examples, batch_size, info)
        evaluation = None
        if validation is not None and made // per_epoch > (made - per_call) // per_epoch:
            evaluation = judge(train_state.params, train_state.state, validation)
        yield Report(copy(train_state), info, made, made / per_epoch, evaluation, seconds)


def nearest_divisor(total: int, wanted: int) -> int:
    """The divisor of `total` that is nearest to `wanted`, in ratio."""
    if wanted < 1:
        raise ValueError(f"expected at least one step a call, got {wanted}")
    divisors = [d for d in range(1, total + 1) if total % d == 0]
    return min(divisors, key=lambda d: max(d / wanted, wanted / d))


def _failure(
    net: Layer,
    loss: Loss,
    train_state: TrainState,
    examples: Batch,
    batch_size: int,
    info: Info,
) -> NonFiniteError:
    """The step that failed, run again layer by layer from the last good state."""
    bad = int(np.argmin(info.finite))
    indices = batch_indices(train_state.key, train_state.step, example_count(examples), batch_size)
    x, target = take(examples, indices)
    culprit = first_nonfinite(
        net, loss, train_state.params, train_state.state, x, target, step_key(train_state)
    )
    return NonFiniteError(
        f"training stopped at step {int(train_state.step)}: loss {info.loss[bad]}, gradient norm "
        f"{info.gradient_norm[bad]}. {culprit} The train state of this error is the last good one.",
        train_state,
    )
