"""The learning-rate range test: one short run whose rate grows, and what its losses say.

Source: Smith (2017).
"""

import math
from typing import NamedTuple, Unpack

import jax
import jax.numpy as jnp
import numpy as np

from fnn.batch import steps_per_epoch
from fnn.layer import Array, Layer
from fnn.losses import Loss
from fnn.optimizers import hyperparameters, with_hyperparameters
from fnn.train.batches import batch_indices
from fnn.train.examples import example_count, take
from fnn.train.options import Batch, StepOptions
from fnn.train.precision import AnyOptimizer
from fnn.train.state import TrainState, check_single
from fnn.train.step import step_function

# A run has diverged once its loss is above so many times the first one.
DIVERGED = 3.0
# How many losses are needed before their slope says anything.
_FEWEST = 4


class RangeTest(NamedTuple):
    """The curve and the suggestion; the arrays, float64, have one entry for each rate that was tried."""

    rates: np.ndarray  # ascending
    losses: (
        np.ndarray
    )  # of the next batch, after the step with that rate; the last may not be finite
    smoothed: np.ndarray  # NaN where the loss is not finite
    first: float  # the loss before any step
    diverged: bool  # whether the run was stopped: by a loss too high, or a step that was not finite
    steepest: float | None  # the rate at which the smoothed loss falls fastest
    lowest_tenth: float | None  # a tenth of the rate at which the smoothed loss is lowest
    suggestion: float | None  # the geometric mean of the two; None if no rate lowered the loss


def range_test(
    net: Layer,
    loss: Loss,
    optimizer: AnyOptimizer,
    train_state: TrainState,
    examples: Batch,
    *,
    batch_size: int,
    low: float = 1e-5,
    high: float = 10.0,
    steps: int = 100,
    smoothing: float = 0.8,
    **options: Unpack[StepOptions],
) -> RangeTest:
    """Try rates from `low` to `high`, each a constant factor above the last, for one step each.

        found = range_test(net, loss, adam(), train_state, (x, labels), batch_size=128)
        print(range_table(found))
        train_state = train_state._replace(
            optimizer=with_hyperparameters(train_state.optimizer, rate=found.suggestion)
        )

    The steps are those that training would make, on the same batches, as one compiled scan in which the
    rate is a leaf of the state, so that nothing is compiled anew for a rate. After a loss above three
    times the first, or a step that is not finite (see `train.step`), no further step is made; with
    `loss_scaling`, a batch that is skipped takes its rate with it. `train_state` stays as it is.

    The loss of a rate is that of the batch after its step. It is smoothed towards both sides, by a mean
    with weights ``smoothing^|i - j|``, which does not shift the curve as a mean of the past alone would.
    `suggestion` is the geometric mean of two rules: the rate where the smoothed loss falls fastest per
    factor of the rate, which is where learning is best but may come early, and a tenth of the rate where
    it is lowest, from where it will turn. One batch a rate makes both rough: within a factor of a few.

    Args:
      net: the network.
      loss: the loss of an example.
      optimizer: one whose state has the hyperparameter `rate`; all that are called so get the same.
      train_state: where to begin, from `train.init` with this optimizer.
      examples: (x, target) to train on.
      batch_size: examples a step.
      low: the first rate.
      high: the last rate.
      steps: how many rates.
      smoothing: in [0, 1); 0 for the losses as they are.
      options: as for `train.step`.

    Raises:
      ValueError: not 0 < low < high < ∞, too few steps, a smoothing out of range, or too few examples.
      KeyError: the state has no rate, or a schedule drives it.
    """
    check_single(train_state, "train.range_test")
    if not 0 < low < high < math.inf:
        raise ValueError(f"expected 0 < low < high of a range test, got {low} and {high}")
    if steps < _FEWEST:
        raise ValueError(f"expected at least {_FEWEST} steps of a range test, got {steps}")
    if not 0 <= smoothing < 1:
        raise ValueError(f"expected 0 <= smoothing < 1, got {smoothing}")
    examples = jax.tree.map(jnp.asarray, examples)
    count = example_count(examples)
    steps_per_epoch(count, batch_size)  # refuses what is no batch
    if not any(
        path.rpartition("/")[2] == "rate" for path in hyperparameters(train_state.optimizer)
    ):
        raise KeyError(
            "expected a train state whose optimizer has the hyperparameter 'rate' as a leaf, got "
            f"{sorted(hyperparameters(train_state.optimizer))}; a rate that a schedule drives is none"
        )
    rates = np.geomspace(low, high, steps)
    losses = np.asarray(
        _scan(net, loss, optimizer, train_state, examples, rates, batch_size, options), np.float64
    )
    return read(rates, losses, smoothing)


def _scan(
    net: Layer,
    loss: Loss,
    optimizer: AnyOptimizer,
    train_state: TrainState,
    examples: Batch,
    rates: np.ndarray,
    batch_size: int,
    options: StepOptions,
) -> Array:
    """The losses before each step and after the last, ∞ from where no step was made any more."""
    advance = step_function(net, loss, optimizer, **options)
    count = example_count(examples)

    def run(train_state: TrainState, examples: Batch, rates: Array) -> Array:
        def step(state: TrainState, rate: Array) -> tuple[TrainState, Array, Array]:
            memory = with_hyperparameters(state.optimizer, rate=rate)
            indices = batch_indices(state.key, state.step, count, batch_size)
            after, info = advance(state._replace(optimizer=memory), take(examples, indices))
            # By its step count, as with `loss_scaling` a batch that is skipped is no divergence.
            return after, info.loss, after.step > state.step

        def body(
            carry: tuple[TrainState, Array, Array], rate: Array
        ) -> tuple[tuple[TrainState, Array, Array], Array]:
            state, first, going = carry
            after, now, made = jax.lax.cond(
                going,
                step,
                lambda state, rate: (state, jnp.full_like(first, jnp.inf), jnp.asarray(False)),
                state,
                rate,
            )
            first = jnp.where(jnp.isnan(first), now, first)
            return (after, first, made & (now <= DIVERGED * first)), now

        _, shape, _ = jax.eval_shape(step, train_state, rates[0])
        begin = (train_state, jnp.full(shape.shape, jnp.nan, shape.dtype), jnp.asarray(True))
        # A last round with a rate of 0 tells the loss after the step with the last rate.
        return jax.lax.scan(body, begin, jnp.append(rates, 0))[1]

    return jax.jit(run)(train_state, examples, jnp.asarray(rates, float))


def read(rates: np.ndarray, losses: np.ndarray, smoothing: float) -> RangeTest:
    """What the losses say: one before the first step, and one after the step with each rate.

    Raises:
      ValueError: the loss before any step is not finite.
    """
    first, after = float(losses[0]), losses[1:]
    if not math.isfinite(first):
        raise ValueError(f"expected a finite loss before the first step, got {first}")
    over = np.flatnonzero(~(after <= DIVERGED * first))
    made = int(over[0]) + 1 if over.size else len(after)
    rates, after = rates[:made], after[:made]
    # The loss at which the run was stopped would lift those before it: it does not count.
    sane = made - 1 if over.size else made
    smoothed = np.full(made, np.nan)
    smoothed[:sane] = _smoothed(after[:sane], smoothing)
    steepest = tenth = suggestion = None
    if sane >= _FEWEST:
        slopes = np.gradient(smoothed[:sane], np.log(rates[:sane]))
        lowest = int(np.argmin(smoothed[:sane]))
        fastest = int(np.argmin(slopes[: lowest + 1]))
        if slopes[fastest] < 0:
            steepest, tenth = float(rates[fastest]), float(rates[lowest]) / 10
            suggestion = math.sqrt(steepest * tenth)
    return RangeTest(rates, after, smoothed, first, bool(over.size), steepest, tenth, suggestion)


def _smoothed(values: np.ndarray, smoothing: float) -> np.ndarray:
    positions = np.arange(len(values))
    weights = smoothing ** np.abs(positions[:, None] - positions).astype(np.float64)
    return (weights @ values) / weights.sum(axis=1)


def range_table(found: RangeTest, rows: int = 20, width: int = 40) -> str:
    """The curve for the terminal: the rate, the loss, and a bar as long as the smoothed loss.

    Raises:
      ValueError: less than two rows, or no width.
    """
    if rows < 2 or width < 1:
        raise ValueError(
            f"expected at least two rows and a width of 1, got {rows} rows and a width of {width}"
        )
    shown = np.unique(np.linspace(0, len(found.rates) - 1, rows).round().astype(int))
    marks: dict[int, list[str]] = {}
    for said, rate in (
        ("falls fastest", found.steepest),
        ("lowest / 10", found.lowest_tenth),
        ("suggestion", found.suggestion),
    ):
        if rate is not None:
            row = int(np.abs(np.log(found.rates[shown] / rate)).argmin())
            marks.setdefault(row, []).append(f"{said} {rate:.2g}")
    if found.diverged:
        marks.setdefault(len(shown) - 1, []).append("diverged")
    top = np.nanmax(np.append(found.smoothed, found.first))
    lines = [f"{'rate':>9}  {'loss':>9}  smoothed, a full bar is {top:.4g}"]
    for row, i in enumerate(shown):
        share = found.smoothed[i] / top if np.isfinite(found.smoothed[i]) and top > 0 else 0.0
        bar = "█" * max(0, round(width * share))
        note = f"  ← {', '.join(marks[row])}" if row in marks else ""
        line = f"{found.rates[i]:9.2e}  {found.losses[i]:9.4g}  {bar:<{width}}{note}"
        lines.append(line.rstrip())
    if found.suggestion is None:
        lines.append("No rate lowered the loss.")
    return "\n".join(lines)
