"""The training loop: a generator that hands back control after every compiled call."""

import time
from collections.abc import Callable, Iterator
from typing import NamedTuple, Unpack

import jax
import jax.numpy as jnp
import numpy as np

from fnn.layer import Layer
from fnn.losses import Loss
from fnn.optimizers import Minimizer, Optimizer
from fnn.train.batches import batch_indices, steps_per_epoch
from fnn.train.epoch import epoch, example_count, take
from fnn.train.evaluate import Evaluation, check_targets, evaluate
from fnn.train.nonfinite import NonFiniteError, explain
from fnn.train.options import Batch, StepOptions
from fnn.train.state import TrainState, copy
from fnn.train.step import Info, all_finite, seen, step_function
from fnn.tree import paths


class Report(NamedTuple):
    """What one compiled call did. Yours to keep: no later call takes its memory."""

    train_state: TrainState
    info: Info  # one entry a step of this call, as numpy arrays
    steps: int  # made so far, in all: `train_state.step`
    epochs: float  # the same in epochs
    evaluation: Evaluation | None  # on the validation set, when an epoch has ended
    seconds: float  # that the training call took, compilation included the first time


def fit(
    net: Layer,
    loss: Loss,
    optimizer: Optimizer | Minimizer,
    train_state: TrainState,
    examples: Batch,
    *,
    epochs: int,
    batch_size: int,
    validation: Batch | None = None,
    steps_per_call: int | None = None,
    **options: Unpack[StepOptions],
) -> Iterator[Report]:
    """Train until `epochs` epochs are made and yield a `Report` after every one of them.

        for report in fit(net, loss, adam(), train_state, (x, labels), epochs=10, batch_size=128):
            print(report.epochs, report.info.loss.mean())

    Stop by leaving the loop; go on later from ``report.train_state``, with the same arguments: what was
    made counts, and the calls, batches and evaluations are those that would have come. `train_state`
    itself is not consumed. The examples are moved to the device once.

    Args:
      net: the network.
      loss: the loss of an example.
      optimizer: an optimizer or a minimizer, see `fnn.optimizers`.
      train_state: from `train.init`, or from an earlier report.
      examples: (x, target) to train on.
      epochs: how many times through the examples, in whole batches, counted from step 0.
      batch_size: examples a step.
      validation: (x, target) to evaluate on whenever an epoch has ended.
      steps_per_call: yield after about so many steps instead: see `call_length`.
      options: as for `train.step`; metrics are evaluated on the validation set as well.

    Raises (at the call):
      ValueError: no examples, fewer than a batch, counts that make no sense, targets that the loss
        refuses, an optimizer's state that is another optimizer's, or no epoch left to make.

    Raises (in the loop):
      NonFiniteError: a step was not finite (see `train.step`), or the parameters or the network's state
        are not finite after a call. It names what was not, by layer and leaf, and holds the last good
        `train_state`.
    """
    if epochs < 1:
        raise ValueError(f"expected at least one epoch, got {epochs}")
    per_epoch = steps_per_epoch(example_count(jax.tree.map(jnp.asarray, examples)), batch_size)
    total, made = epochs * per_epoch, int(train_state.step)
    if made >= total:
        raise ValueError(
            f"expected more epochs than the {made / per_epoch:g} that this train state has behind it, "
            f"as they are counted from step 0, got {epochs}"
        )
    per_call = per_epoch if steps_per_call is None else call_length(total, steps_per_call)
    step_function(net, loss, optimizer, **options)  # refuses what is no option
    check_state(optimizer, train_state)
    for given in (examples, validation):
        if given is not None:
            check_targets(net, loss, train_state.params, train_state.state, given)
    run = _Run(net, loss, optimizer, options, batch_size)
    return run.reports(copy(train_state), examples, validation, per_epoch, per_call, total)


class _Run(NamedTuple):
    """What stays the same from call to call."""

    net: Layer
    loss: Loss
    optimizer: Optimizer | Minimizer
    options: StepOptions
    batch_size: int

    def reports(
        self,
        train_state: TrainState,
        examples: Batch,
        validation: Batch | None,
        per_epoch: int,
        per_call: int,
        total: int,
    ) -> Iterator[Report]:
        """One report a call; the calls end at the multiples of `per_call`, and at `total`."""
        examples, validation = jax.tree.map(jnp.asarray, (examples, validation))
        if shardings := self.options.get("shardings"):
            examples, validation = shardings.replicate((examples, validation))
        judge = evaluate(
            self.net,
            self.loss,
            batch_size=max(self.batch_size, 256),
            metrics=self.options.get("metrics"),
        )
        finite = jax.jit(all_finite)
        calls: dict[int, Callable[[TrainState, Batch], tuple[TrainState, Info]]] = {}
        made = int(train_state.step)
        while made < total:
            before, length = made, min(per_call - made % per_call, total - made)
            if length not in calls:
                calls[length] = self.epoch(length)
            start = time.perf_counter()
            after, info = jax.block_until_ready(calls[length](copy(train_state), examples))
            seconds = time.perf_counter() - start
            info = jax.tree.map(np.asarray, info)
            if not finite((after.params, after.state)):
                after = self.last_finite(train_state, examples, length)
                raise self.failure(after, examples)
            if not info.finite.all():
                raise self.failure(after, examples)
            train_state, made = after, made + length
            evaluation = None
            if validation is not None and made // per_epoch > before // per_epoch:
                evaluation = judge(train_state.params, train_state.state, validation)
            yield Report(copy(train_state), info, made, made / per_epoch, evaluation, seconds)

    def epoch(self, steps: int) -> Callable[[TrainState, Batch], tuple[TrainState, Info]]:
        """So many steps in one compiled call."""
        return epoch(
            self.net,
            self.loss,
            self.optimizer,
            batch_size=self.batch_size,
            steps=steps,
            **self.options,
        )

    def last_finite(self, train_state: TrainState, examples: Batch, steps: int) -> TrainState:
        """The state before the step, of the next `steps`, that makes a parameter that is not finite."""
        advance = jax.jit(step_function(self.net, self.loss, self.optimizer, **self.options))
        for _ in range(steps):
            after, _info = advance(train_state, self.batch(train_state, examples))
            if not all_finite((after.params, after.state)):
                break
            train_state = after
        return train_state

    def batch(self, train_state: TrainState, examples: Batch) -> Batch:
        """What the next step is given."""
        count = example_count(examples)
        return take(
            examples, batch_indices(train_state.key, train_state.step, count, self.batch_size)
        )

    def failure(self, train_state: TrainState, examples: Batch) -> NonFiniteError:
        """The error that says what the step from this last good state met."""
        batch = self.batch(train_state, examples)
        advance = step_function(self.net, self.loss, self.optimizer, **self.options)
        _, info = jax.jit(advance)(train_state, batch)
        augment, gradient = self.options.get("augment"), self.options.get("gradient", "hand")
        batch = seen(train_state, batch, augment)
        culprit = explain(self.net, self.loss, self.optimizer, gradient, train_state, batch)
        return NonFiniteError(
            f"training stopped at step {int(train_state.step)}: loss {info.loss}, gradient norm "
            f"{info.gradient_norm}. {culprit} The train state of this error is the last good one.",
            train_state,
        )


def call_length(total: int, wanted: int) -> int:
    """How many steps a call makes, if about `wanted` are asked for, of `total`.

    The divisor of `total` nearest to `wanted` in ratio, so that one compilation serves every call; but
    `wanted` itself, and a shorter last call, if the nearest is not within a factor of two.

    Raises:
      ValueError: less than one step is wanted.
    """
    if wanted < 1:
        raise ValueError(f"expected at least one step a call, got {wanted}")
    wanted = min(wanted, total)

    def distance(length: int) -> float:
        return max(length / wanted, wanted / length)

    nearest = min((d for d in range(1, total + 1) if total % d == 0), key=distance)
    return nearest if distance(nearest) <= 2 else wanted


def check_state(optimizer: Optimizer | Minimizer, train_state: TrainState) -> None:
    """Refuse a train state that was made for another optimizer.

    Raises:
      ValueError: naming the leaves that are missing, too many, or of another shape.
    """
    expected = jax.eval_shape(optimizer.init, train_state.params)
    wanted, given = (
        {path: (leaf.shape, leaf.dtype) for path, leaf in paths(tree)}
        for tree in (expected, train_state.optimizer)
    )
    if wanted != given:
        differing = sorted(p for p in wanted.keys() | given.keys() if wanted.get(p) != given.get(p))
        raise ValueError(
            "expected a train state that `train.init` made with this optimizer, got another "
            f"optimizer's: they differ in {', '.join(differing)}"
        )
