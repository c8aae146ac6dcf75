"""The training loop of a population: a generator that reports on all members after every call."""

import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple, Unpack

import jax
import jax.numpy as jnp
import numpy as np

from fnn.batch import steps_per_epoch
from fnn.layer import Array, Layer, PyTree
from fnn.losses import Loss
from fnn.train.evaluate import Evaluation, check_targets
from fnn.train.evaluate import evaluate as evaluate_one
from fnn.train.examples import example_count
from fnn.train.fit_checks import call_length, check_batch_size, check_reduced, check_state
from fnn.train.metrics.streaming import Reduction
from fnn.train.nonfinite import NonFiniteError
from fnn.train.norms import all_finite
from fnn.train.options import Batch, StepOptions
from fnn.train.population.epoch import Epoch, epoch, evaluate
from fnn.train.population.members import member, mesh_of, placed, size
from fnn.train.population.memory import check_memory, memory_estimate
from fnn.train.precision import AnyOptimizer
from fnn.train.state import TrainState
from fnn.train.step import Info


class Report(NamedTuple):
    """What one compiled call did. Yours to keep: no later call takes its memory."""

    members: TrainState
    info: Info  # (N, steps of this call), as numpy arrays
    steps: int  # made so far, by those who have not stopped
    epochs: float  # the same in epochs
    evaluation: Evaluation | None  # of all members, when an epoch has ended
    seconds: float  # that the training call took, compilation included the first time
    running: np.ndarray  # (N,) of bool: who has not stopped at a number that is not finite
    examples: int  # that this call saw, of all members together


class Best(NamedTuple):
    """The best of many, and what the others are like."""

    member: int
    value: float
    mean: float  # over all members whose value is finite
    std: float  # the same, with N - 1
    finite: int  # those members
    members: int

    def __str__(self) -> str:
        return (
            f"member {self.member} of {self.members}: {self.value:.4g}; mean {self.mean:.4g} ± "
            f"{self.std:.2g} over {self.finite}. The best of many was chosen by these examples, so "
            "its value on others is expected to be worse"
        )


def fit(
    net: Layer,
    loss: Loss,
    optimizer: AnyOptimizer,
    members: TrainState,
    examples: Batch,
    *,
    epochs: int,
    batch_size: int | None,
    validation: Batch | None = None,
    steps_per_call: int | None = None,
    reductions: Mapping[str, Reduction] | None = None,
    same_batches: bool = False,
    own_examples: bool = False,
    chunk: int | None = None,
    memory_limit: int | None = None,
    **options: Unpack[StepOptions],
) -> Iterator[Report]:
    """`train.fit` for all members at once: train until `epochs` epochs are made, report after each.

    A member that meets a number that is not finite stops alone: it keeps its last good state, or, where
    only its parameters tell, the one it had before the call, and `running` is False for it. To learn
    why, let it run alone: ``train.fit(net, loss, optimizer, population.member(report.members, i), …)``
    names the layer.

    Args:
      net: the network.
      loss: the loss of an example.
      optimizer: as for `epoch`.
      members: from `population.init`, `stack`, `spread`, or from an earlier report.
      examples: (x, target) to train on; with `own_examples`, of every member.
      epochs: how many times through the examples, in whole batches, counted from step 0.
      batch_size: examples a step; None for full-batch descent.
      validation: (x, target) to evaluate all members on whenever an epoch has ended.
      steps_per_call: yield after about so many steps instead, see `train.fit`.
      reductions: for the evaluation, of each member: see `train.evaluate`.
      same_batches: as for `epoch`.
      own_examples: as for `epoch`.
      chunk: as for `epoch`.
      memory_limit: bytes a device that `memory_estimate` must stay within; None for no limit.
      options: as for `train.step`; metrics are evaluated on the validation set as well.

    Raises (at the call):
      ValueError: as `train.fit`, or as `epoch`.
      MemoryError: the estimate is above the limit.

    Raises (in the loop):
      NonFiniteError: every member has stopped. It holds their last good states.
    """
    if epochs < 1:
        raise ValueError(f"expected at least one epoch, got {epochs}")
    size(members)
    first = member(members, 0)
    for given in (examples, validation):
        if given is not None:
            example_count(given)  # refuses text, which no array of JAX holds
    its_examples = member(examples, 0) if own_examples else jax.tree.map(jnp.asarray, examples)
    size_of_batch = example_count(its_examples) if batch_size is None else batch_size
    per_epoch = steps_per_epoch(example_count(its_examples), size_of_batch)
    check_reduced(reductions, validation)
    total, made = epochs * per_epoch, int(np.max(members.step))
    if made >= total:
        raise ValueError(
            f"expected more epochs than the {made / per_epoch:g} that these members have behind them, "
            f"as they are counted from step 0, got {epochs}"
        )
    per_call = per_epoch if steps_per_call is None else call_length(total, steps_per_call)

    def call(length: int) -> Epoch:
        return epoch(
            net,
            loss,
            optimizer,
            batch_size=batch_size,
            steps=length,
            same_batches=same_batches,
            own_examples=own_examples,
            chunk=chunk,
            donate=False,
            **options,
        )

    call(per_call)  # refuses what is no option
    check_batch_size(size_of_batch, options)
    check_state(optimizer, first)
    for given in (its_examples, validation):
        if given is not None:
            check_targets(net, loss, first.params, first.state, given)
    mesh = mesh_of(members)
    if memory_limit is not None:
        estimate = memory_estimate(
            net,
            loss,
            optimizer,
            size(members),
            examples,
            batch_size=size_of_batch,
            chunk=chunk,
            own_examples=own_examples,
            donate=False,
            devices=1 if mesh is None else mesh.size,
        )
        check_memory(estimate, memory_limit)
    evaluation: dict[str, Any] = {
        "batch_size": max(size_of_batch, 256),
        "metrics": options.get("metrics"),
        "reductions": reductions,
    }
    judge = evaluate(net, loss, chunk=chunk, **evaluation)
    if validation is not None:
        # Of one member, traced only: what it refuses is not found after the first epoch.
        jax.eval_shape(evaluate_one(net, loss, **evaluation), first.params, first.state, validation)
        validation = placed(validation, mesh)
    examples = placed(examples, mesh, by_member=own_examples)
    plan = _Plan(call, judge, per_epoch, per_call, total, size_of_batch)
    return plan.reports(members, examples, validation)


class _Plan(NamedTuple):
    """What stays the same from call to call."""

    call: Callable[[int], Epoch]
    judge: Callable[[PyTree, PyTree, Batch], Evaluation]
    per_epoch: int
    per_call: int
    total: int
    size: int  # examples a step of a member

    def reports(
        self, members: TrainState, examples: Batch, validation: Batch | None
    ) -> Iterator[Report]:
        """One report a call; the calls end at the multiples of `per_call`, and at `total`."""
        made, calls = int(np.max(members.step)), dict[int, Epoch]()
        whole = jax.jit(jax.vmap(lambda one: all_finite((one.params, one.state))))
        keep = jax.jit(_where)
        while made < self.total:
            before, length = made, min(self.per_call - made % self.per_call, self.total - made)
            if length not in calls:
                calls[length] = self.call(length)
            start = time.perf_counter()
            after, info = jax.block_until_ready(calls[length](members, examples))
            seconds = time.perf_counter() - start
            info, good = jax.tree.map(np.asarray, (info, whole(after)))
            # By its steps, as with `loss_scaling` a batch that is skipped stops nobody.
            advanced = np.asarray(after.step) - np.asarray(members.step) == length
            members = after if good.all() else keep(jnp.asarray(good), after, members)
            running = good & advanced
            if not running.any():
                raise NonFiniteError(
                    f"all {len(running)} members have stopped, after {np.asarray(members.step)} "
                    "steps; train.fit of one of them alone names the layer where it happens. The "
                    "train state of this error is the population's last good one.",
                    members,
                )
            made += length
            evaluation = None
            if validation is not None and made // self.per_epoch > before // self.per_epoch:
                evaluation = self.judge(members.params, members.state, validation)
            yield Report(
                members,
                info,
                made,
                made / self.per_epoch,
                evaluation,
                seconds,
                running,
                length * self.size * len(running),
            )


def best(values: Array | np.ndarray, mode: str = "min") -> Best:
    """The best of one value a member (N,), such as ``report.evaluation.loss``, beside the mean of all.

    Values that are not finite are left out. The maximum of N noisy values lies above the truth by about
    ``std · √(2 log N)``: compare the best with others on examples that did not choose it.

    Raises:
      ValueError: not one value a member, none of them finite, or an unknown mode.
    """
    values = np.asarray(values, np.float64)
    if mode not in ("min", "max"):
        raise ValueError(f"expected mode 'min' or 'max', got {mode!r}")
    if values.ndim != 1 or not np.isfinite(values).any():
        raise ValueError(
            f"expected one value a member, at least one of them finite, got shape {values.shape}"
            + (f" with {values}" if values.ndim == 1 else "")
        )
    finite = values[np.isfinite(values)]
    index = int(
        np.nanargmin(np.where(np.isfinite(values), values if mode == "min" else -values, np.nan))
    )
    std = float(finite.std(ddof=1)) if finite.size > 1 else 0.0
    return Best(index, float(values[index]), float(finite.mean()), std, finite.size, values.size)


def _where(chosen: Array, first: PyTree, second: PyTree) -> PyTree:
    """Each member's part of `first` where it is chosen, else of `second`."""
    return jax.vmap(lambda c, a, b: jax.tree.map(lambda p, q: jnp.where(c, p, q), a, b))(
        chosen, first, second
    )
