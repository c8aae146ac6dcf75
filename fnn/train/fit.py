"""The training loop: a generator that hands back control after every compiled call."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from itertools import islice
from typing import Any, NamedTuple, Unpack, cast

import jax
import jax.numpy as jnp
import numpy as np

from fnn.layer import Layer, PyTree
from fnn.losses import Loss
from fnn.train.epoch import epoch
from fnn.train.evaluate import Evaluation, check_targets, evaluate
from fnn.train.examples import example_count
from fnn.train.feed import (
    Advance,
    Feed,
    Source,
    checked,
    counted,
    from_arrays,
    from_source,
    is_source,
)
from fnn.train.fit_checks import (
    call_length,
    check_batch_size,
    check_parameters,
    check_reduced,
    check_state,
)
from fnn.train.metrics.streaming import Reduction
from fnn.train.nonfinite import NonFiniteError, explain
from fnn.train.norms import all_finite
from fnn.train.options import Batch, StepOptions
from fnn.train.precision import AnyOptimizer, LossScaled
from fnn.train.state import TrainState, check_single, copy
from fnn.train.step import Info, seen, step_function


class Report(NamedTuple):
    """What one compiled call did. Yours to keep: no later call takes its memory."""

    train_state: TrainState
    info: Info  # one entry a step of this call, as numpy arrays
    steps: int  # made so far, in all: `train_state.step`
    epochs: float  # the same in epochs
    evaluation: Evaluation | None  # on the validation set, when an epoch has ended
    seconds: float  # that the training call took, compilation included the first time
    examples: int  # that this call saw, those of skipped batches included
    params: PyTree  # what is evaluated: the train state's, or those of `evaluate_with`


def fit(
    net: Layer,
    loss: Loss,
    optimizer: AnyOptimizer,
    train_state: TrainState,
    examples: Batch | Source,
    *,
    epochs: int,
    batch_size: int | None,
    validation: Batch | None = None,
    steps_per_call: int | None = None,
    reductions: Mapping[str, Reduction] | None = None,
    predictions: bool = True,
    evaluate_with: Callable[[TrainState], PyTree] | None = None,
    **options: Unpack[StepOptions],
) -> Iterator[Report]:
    """Train until `epochs` epochs are made and yield a `Report` after every one of them.

        for report in fit(net, loss, adam(), train_state, (x, labels), epochs=10, batch_size=128):
            print(report.epochs, report.info.loss.mean())

    Stop by leaving the loop; go on later from ``report.train_state``, with the same arguments: what was
    made counts, and the calls, batches and evaluations are those that would have come. `train_state`
    itself is not consumed. The examples are moved to the device once.

    Examples that do not fit there come from a `Source`, such as `fnn.data.pipeline`: the same batches, by
    a call of the step for each of them, or, with `steps_per_call`, by one scan over those of a report.

    With `loss_scaling`, a batch whose gradient overflows is skipped and the run goes on.

    Args:
      net: the network.
      loss: the loss of an example.
      optimizer: an optimizer or a minimizer, see `fnn.optimizers`, or one with `loss_scaling`.
      train_state: from `train.init`, or from an earlier report.
      examples: (x, target) to train on, or a `Source` of such batches.
      epochs: how many times through the examples, in whole batches, counted from step 0.
      batch_size: examples a step: 1 for online learning, None for full-batch descent on all at once.
      validation: (x, target) to evaluate on whenever an epoch has ended.
      steps_per_call: yield after about so many steps instead: see `call_length`.
      reductions: for the evaluation: see `train.evaluate`.
      predictions: whether an evaluation keeps what the network says of each example.
      evaluate_with: which parameters are evaluated, such as `averaged_params`; None for those that are
        trained. The network's state, such as running statistics, stays that of the trained ones.
      options: as for `train.step`; metrics are evaluated on the validation set as well.

    Raises (at the call):
      ValueError: no examples, fewer than a batch, counts that make no sense, targets that the loss
        refuses (not of a `Source`), a population's train state, an optimizer's state that is another
        optimizer's, or no epoch left to make; parameters to evaluate that are not like those of the
        train state; reductions without examples to evaluate on, or what else an evaluation refuses.
      TypeError: an unknown option; examples, optimizer or train state that are none; a `Source` to
        evaluate on.

    Raises (in the loop):
      NonFiniteError: a step was not finite (see `train.step`), or the parameters or the network's state
        are not finite after a call; with `loss_scaling`, at a scale that cannot be lowered. It names
        what was not, by layer and leaf, and holds the last good `train_state`.
      ValueError: a `Source` that ended.
    """
    check_single(train_state, "train.fit")
    if epochs < 1:
        raise ValueError(f"expected at least one epoch, got {epochs}")
    size, per_epoch = counted(examples, batch_size)
    total, made = epochs * per_epoch, int(train_state.step)
    if made >= total:
        raise ValueError(
            f"expected more epochs than the {made / per_epoch:g} that this train state has behind it, "
            f"as they are counted from step 0, got {epochs}"
        )
    per_call = per_epoch if steps_per_call is None else call_length(total, steps_per_call)
    step_function(net, loss, optimizer, **options)  # refuses what is no option
    check_batch_size(size, options)
    check_state(optimizer, train_state)
    if evaluate_with is not None:
        check_parameters(evaluate_with, train_state)
    check_reduced(reductions, validation)
    if not is_source(examples):  # moved to the device here and nowhere else
        examples = cast(Batch, jax.tree.map(jnp.asarray, examples))
        check_targets(net, loss, train_state.params, train_state.state, examples)

    def evaluation() -> Callable[[PyTree, PyTree, Batch], Evaluation]:
        return evaluate(
            net,
            loss,
            batch_size=max(size, 256),
            metrics=options.get("metrics"),
            reductions=reductions,
            predictions=predictions,
            shardings=options.get("shardings"),
        )

    judge = evaluation()
    if validation is not None:
        example_count(checked(validation, "validation"))  # refuses what is no array of numbers
        validation = jax.tree.map(jnp.asarray, validation)
        check_targets(net, loss, train_state.params, train_state.state, validation)
        # Another one, traced only: what it refuses is not found after the first epoch.
        jax.eval_shape(evaluation(), train_state.params, train_state.state, validation)
    run = _Run(net, loss, optimizer, options, size, judge, evaluate_with)
    start, shardings = copy(train_state), options.get("shardings")
    start = start if shardings is None else shardings.place(start)

    def feed() -> Feed:
        if is_source(examples):
            return run.source(examples, start, total, stacked=steps_per_call is not None)
        return run.arrays(cast(Batch, examples), batch_size)

    return run.reports(start, feed, validation, per_epoch, per_call, total)


class _Run(NamedTuple):
    """What stays the same from call to call."""

    net: Layer
    loss: Loss
    optimizer: AnyOptimizer
    options: StepOptions
    size: int  # examples a step
    judge: Callable[[PyTree, PyTree, Batch], Evaluation]
    evaluate_with: Callable[[TrainState], PyTree] | None

    def reports(
        self,
        train_state: TrainState,
        open_feed: Callable[[], Feed],
        validation: Batch | None,
        per_epoch: int,
        per_call: int,
        total: int,
    ) -> Iterator[Report]:
        """One report a call; the calls end at the multiples of `per_call`, and at `total`."""
        validation = self.placed(validation)
        finite = jax.jit(all_finite)
        evaluated = None if self.evaluate_with is None else jax.jit(self.evaluate_with)
        made = int(train_state.step)
        feed = open_feed()
        try:
            while made < total:
                before, length = made, min(per_call - made % per_call, total - made)
                start = time.perf_counter()
                after, info = feed.advance(copy(train_state), length)
                seconds = time.perf_counter() - start
                info = jax.tree.map(np.asarray, info)
                sound = bool(finite((after.params, after.state)))
                if not sound or int(after.step) < made + length:  # what is not made does not count
                    if not (sound and feed.repeats):
                        after = self.last_good(train_state, feed, length)
                    raise self.failure(after, feed)
                train_state, made = after, made + length
                report_state = copy(train_state)
                params = report_state.params if evaluated is None else evaluated(train_state)
                evaluation = None
                if validation is not None and made // per_epoch > before // per_epoch:
                    evaluation = self.judge(params, train_state.state, validation)
                yield Report(
                    report_state,
                    info,
                    made,
                    made / per_epoch,
                    evaluation,
                    seconds,
                    length * self.size,
                    params,
                )
        finally:
            feed.close()

    def arrays(self, examples: Batch, batch_size: int | None) -> Feed:
        """Batches of examples that lie on the device."""

        def of(steps: int) -> Advance:
            return epoch(
                self.net,
                self.loss,
                self.optimizer,
                batch_size=batch_size,
                steps=steps,
                **self.options,
            )

        return from_arrays(of, self.placed(examples), batch_size)

    def source(self, source: Source, start: TrainState, total: int, stacked: bool) -> Feed:
        """Batches of a pipeline."""
        return from_source(self.step(), source, self.size, start, total, stacked)

    def placed(self, examples: Any) -> Any:
        """The examples on the device, or on every one of them."""
        examples = jax.tree.map(jnp.asarray, examples)
        shardings = self.options.get("shardings")
        return examples if shardings is None else shardings.replicate(examples)

    def step(self) -> Advance:
        """One step."""
        return step_function(self.net, self.loss, self.optimizer, **self.options)

    def last_good(self, train_state: TrainState, feed: Feed, steps: int) -> TrainState:
        """The state before the step, of the next `steps`, that is not made or not finite."""
        advance = jax.jit(self.step())
        with closing(feed.batches(train_state)) as batches:
            for batch in islice(batches, steps):
                after, _info = advance(train_state, batch)
                if after.step == train_state.step or not all_finite((after.params, after.state)):
                    break
                train_state = after
        return train_state

    def failure(self, train_state: TrainState, feed: Feed) -> NonFiniteError:
        """The error that says what the step from this last good state met."""
        with closing(feed.batches(train_state)) as batches:
            batch = next(batches)
        _, info = jax.jit(self.step())(train_state, batch)
        batch = seen(train_state, batch, self.options.get("augment"))
        culprit = explain(
            self.net,
            self.loss,
            self.optimizer,
            self.options.get("gradient", "hand"),
            train_state,
            batch,
            self.options.get("micro_batches", 1),
        )
        scaled = (
            f", at a loss scale of {float(info.scale):g}, which is not lowered any more"
            if isinstance(self.optimizer, LossScaled)
            else ""
        )
        return NonFiniteError(
            f"training stopped at step {int(train_state.step)}: loss {info.loss}, gradient norm "
            f"{info.gradient_norm}{scaled}. {culprit} The train state of this error is the last good "
            "one.",
            train_state,
        )
