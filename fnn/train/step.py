"""One training step: a pure function from a train state and a batch to the next train state."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import NamedTuple, Unpack

import jax
import jax.numpy as jnp

from fnn.gradient import mean_over_examples
from fnn.layer import Array, Layer, PyTree
from fnn.losses import Loss
from fnn.optimizers import Minimizer, Optimizer, apply_updates
from fnn.optimizers.optimizer import check_optimizer
from fnn.random import name_hash
from fnn.train.derivation import Derived, Rest, derivation
from fnn.train.examples import unpacked
from fnn.train.norms import all_finite, global_norm, gradient_distance, smallest
from fnn.train.once import jit_once
from fnn.train.options import (
    Augmentation,
    Batch,
    Gradient,
    Metric,
    Shardings,
    StepOptions,
    check_metrics,
    check_parts,
)
from fnn.train.precision import AnyOptimizer, LossScaled, scale_of
from fnn.train.state import TrainState, check_single, step_key


class Info(NamedTuple):
    """What a person wants to know of a step; all are scalars (of an epoch: one a step)."""

    loss: Array  # the mean loss of the batch, before the step
    metrics: dict[str, Array]  # the mean of each metric
    gradient_norm: Array  # √Σ g² over all parameters
    distance: Array | None  # gradient="both": see `gradient_distance`
    finite: Array  # whether all was finite that `step` looks at, and so the step was made
    scale: Array | None = None  # with `loss_scaling`: what the loss was multiplied by


class _Look(NamedTuple):
    """What a step sees before it moves."""

    rest: Rest
    derived: Derived
    distance: Array | None
    norm: Array
    finite: Array  # whether value, norm and distance are


def step(
    net: Layer,
    loss: Loss,
    optimizer: AnyOptimizer,
    **options: Unpack[StepOptions],
) -> Callable[[TrainState, Batch], tuple[TrainState, Info]]:
    """``step(train_state, (x, target)) -> (train_state, info)``, compiled once.

    With a batch ``(x, target, weights)`` it descends the weighted mean of the losses, and the metrics
    are weighted alike: see `fnn.gradient.mean_over_examples`. A mask is weights of 0 and 1.

    The state that goes in is donated: its memory becomes that of the state that comes out. A step is
    not made, so that the state comes back as it was and `info.finite` is False, if anything of this is
    not finite: the loss, the gradient, the distance, the network's next state, and what the update makes
    of the smallest parameter. This last stands for all, as a rate or a decay acts on all alike: to look
    at every parameter would cost the step of an MLP a fifth of its time. It does not stand for those of
    other `groups`, least of all where it is frozen. `fit` looks at all of them after each call.
    With `loss_scaling`, a step that is not finite is a batch that is skipped, as said there, and counts.

    A minimizer is given the batch as its objective: the mean loss and its gradient, from the state of
    the network before the step and with the draws of the step, whatever parameters it asks about. The
    network's next state is that of the first evaluation. Its convolutions may be slow on a CPU within a
    search, which is a loop.

    Args:
      net: the network.
      loss: the loss of an example; the step descends its mean over the batch.
      optimizer: an optimizer or a minimizer, see `fnn.optimizers`, or one with `loss_scaling`.
      options: gradient, metrics, augment, shardings, micro_batches: see `StepOptions`.

    Raises:
      RetraceError: on a call with other shapes or dtypes than the first one's.
    """
    function = step_function(net, loss, optimizer, **options)
    return jit_once("train.step", function, donate_argnums=0)


def step_function(
    net: Layer,
    loss: Loss,
    optimizer: AnyOptimizer,
    *,
    gradient: Gradient = "hand",
    metrics: Mapping[str, Metric] | None = None,
    augment: Augmentation | None = None,
    shardings: Shardings | None = None,
    micro_batches: int = 1,
) -> Callable[[TrainState, Batch], tuple[TrainState, Info]]:
    """The step as a plain function, for `jit`, `scan` and `vmap` of one's own.

    Raises:
      TypeError, ValueError: what is given is no optimizer, or an option is none.
    """
    check_optimizer(optimizer, "train.step")
    check_metrics(metrics)
    check_parts(loss, augment, shardings)
    if gradient not in ("hand", "auto", "both"):
        raise ValueError(f"expected gradient 'hand', 'auto' or 'both', got {gradient!r}")
    by_hand, by_autodiff = (
        derivation(
            net,
            loss,
            by,
            metrics=metrics or {},
            micro_batches=micro_batches,
            shardings=shardings,
        )
        for by in ("hand", "auto")
    )
    if shardings is not None:
        by_hand, by_autodiff = map(shardings.differentiated, (by_hand, by_autodiff))
    derive = by_autodiff if gradient == "auto" else by_hand

    def looked_at(train_state: TrainState, batch: Batch, scale: Array | None) -> _Look:
        x, target, weights = unpacked(seen(train_state, batch, augment, shardings))
        rest = (train_state.state, x, target, step_key(train_state), weights)
        derived = derive(train_state.params, rest, scale)
        distance = (
            gradient_distance(derived.grads, by_autodiff(train_state.params, rest, scale).grads)
            if gradient == "both"
            else None
        )
        norm = global_norm(derived.grads)
        if scale is not None:
            norm = norm / scale.astype(norm.dtype)
        finite = jnp.isfinite(derived.value) & jnp.isfinite(norm)
        if distance is not None:
            finite = finite & jnp.isfinite(distance)
        return _Look(rest, derived, distance, norm, finite)

    def info_of(look: _Look, params: PyTree, scale: Array | None) -> Info:
        """The rest of what a person wants to know, once the update is there."""
        finite = look.finite & all_finite((smallest(params), look.derived.state))
        *_, weights = look.rest
        return Info(
            look.derived.value,
            {
                name: mean_over_examples(values, weights)[0]
                for name, values in look.derived.values().items()
            },
            look.norm,
            look.distance,
            finite,
            scale,
        )

    def advance(
        optimizer: Optimizer | LossScaled, train_state: TrainState, batch: Batch
    ) -> tuple[TrainState, Info]:
        check_single(train_state, "train.step")
        scale = scale_of(optimizer, train_state.optimizer)
        look = looked_at(train_state, batch, scale)

        def update(grads: PyTree, before: TrainState) -> tuple[PyTree, PyTree]:
            if isinstance(optimizer, LossScaled):
                memory = before.optimizer
                return optimizer.update(grads, memory.scale, memory, before.params)
            return optimizer.update(grads, before.optimizer, before.params)

        # Computed again in the branch below: here, XLA keeps what the smallest parameter needs of it.
        updates, _ = update(look.derived.grads, train_state)
        info = info_of(look, apply_updates(train_state.params, updates), scale)

        def make(operands: tuple[TrainState, PyTree, PyTree]) -> TrainState:
            before, grads, state = operands
            updates, optimizer_state = update(grads, before)
            params = apply_updates(before.params, updates)
            return before._replace(
                params=params, state=state, optimizer=optimizer_state, step=before.step + 1
            )

        def leave(operands: tuple[TrainState, PyTree, PyTree]) -> TrainState:
            before, _, _ = operands
            if not isinstance(optimizer, LossScaled):
                return before
            memory, goes_on = optimizer.skip(before.optimizer)
            step = before.step + goes_on.astype(before.step.dtype)
            return before._replace(optimizer=memory, step=step)

        # A branch, not a select: a select of every leaf makes the step of an MLP a fifth slower.
        operands = (train_state, look.derived.grads, look.derived.state)
        after = jax.lax.cond(info.finite, make, leave, operands)
        return after if shardings is None else shardings.keep(after), info

    def advance_by_search(
        minimizer: Minimizer, train_state: TrainState, batch: Batch
    ) -> tuple[TrainState, Info]:
        check_single(train_state, "train.step")
        look = looked_at(train_state, batch, None)

        def objective(params: PyTree) -> tuple[Array, PyTree]:
            derived = derive(params, look.rest, None)
            return derived.value, derived.grads

        # Once, and not in the branch below: it may evaluate the network many times.
        updates, memory = minimizer.update(
            objective,
            look.derived.value,
            look.derived.grads,
            train_state.optimizer,
            train_state.params,
        )
        params = apply_updates(train_state.params, updates)
        info = info_of(look, params, None)
        made = train_state._replace(
            params=params, state=look.derived.state, optimizer=memory, step=train_state.step + 1
        )
        after = jax.lax.cond(
            info.finite, lambda states: states[0], lambda states: states[1], (made, train_state)
        )
        return after if shardings is None else shardings.keep(after), info

    if isinstance(optimizer, Minimizer):
        return partial(advance_by_search, optimizer)
    return partial(advance, optimizer)


def seen(
    train_state: TrainState,
    batch: Batch,
    augment: Augmentation | None = None,
    shardings: Shardings | None = None,
) -> Batch:
    """What the network sees of a batch in the next step: in its place, and augmented."""
    batch = batch if shardings is None else shardings.batch(batch)
    if augment is None:
        return batch
    batch = augment(jax.random.fold_in(step_key(train_state), name_hash("augment")), batch)
    return batch if shardings is None else shardings.batch(batch)
