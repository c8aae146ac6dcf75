"""One training step: a pure function from a train state and a batch to the next train state."""

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple, Unpack

import jax
import jax.numpy as jnp

from fnn.dtypes import accumulation_dtype, computing_dtype
from fnn.gradient import (
    Auxiliary,
    Differentiated,
    auto_value_and_grad,
    mean_over_examples,
    value_and_grad,
)
from fnn.layer import Array, Layer, PyTree
from fnn.losses import Loss
from fnn.optimizers import Minimizer, Optimizer, apply_updates
from fnn.random import name_hash
from fnn.train.once import jit_once
from fnn.train.options import Augmentation, Batch, Gradient, Metric, Shardings, StepOptions
from fnn.train.state import TrainState, step_key


class Info(NamedTuple):
    """What a person wants to know of a step; all are scalars (of an epoch: one a step)."""

    loss: Array  # the mean loss of the batch, before the step
    metrics: dict[str, Array]  # the mean of each metric
    gradient_norm: Array  # √Σ g² over all parameters
    distance: Array | None  # gradient="both": see `gradient_distance`
    finite: Array  # whether all was finite that `step` looks at, and so the step was made


class _Look(NamedTuple):
    """What a step sees before it moves."""

    rest: tuple[PyTree, PyTree, PyTree, Array, Array | None]  # state, x, target, key, weights
    value: Array
    auxiliary: Auxiliary
    grads: PyTree
    distance: Array | None
    norm: Array
    finite: Array  # whether value, norm and distance are


def step(
    net: Layer,
    loss: Loss,
    optimizer: Optimizer | Minimizer,
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

    A minimizer is given the batch as its objective: the mean loss and its gradient, from the state of
    the network before the step and with the draws of the step, whatever parameters it asks about. The
    network's next state is that of the first evaluation. Its convolutions may be slow on a CPU within a
    search, which is a loop.

    Args:
      net: the network.
      loss: the loss of an example; the step descends its mean over the batch.
      optimizer: an optimizer or a minimizer, see `fnn.optimizers`.
      options: gradient, metrics, augment, shardings: see `StepOptions`.

    Raises:
      RetraceError: on a call with other shapes or dtypes than the first one's.
    """
    function = step_function(net, loss, optimizer, **options)
    return jit_once("train.step", function, donate_argnums=0)


def step_function(
    net: Layer,
    loss: Loss,
    optimizer: Optimizer | Minimizer,
    *,
    gradient: Gradient = "hand",
    metrics: Mapping[str, Metric] | None = None,
    augment: Augmentation | None = None,
    shardings: Shardings | None = None,
) -> Callable[[TrainState, Batch], tuple[TrainState, Info]]:
    """The step as a plain function, for `jit`, `scan` and `vmap` of one's own."""
    if gradient not in ("hand", "auto", "both"):
        raise ValueError(f"expected gradient 'hand', 'auto' or 'both', got {gradient!r}")
    by_hand, by_autodiff = value_and_grad(net, loss), auto_value_and_grad(net, loss)
    differentiate: Differentiated = by_autodiff if gradient == "auto" else by_hand

    def looked_at(train_state: TrainState, batch: Batch) -> _Look:
        x, target, weights = unpacked(seen(train_state, batch, augment, shardings))
        rest = (train_state.state, x, target, step_key(train_state), weights)
        (value, auxiliary), grads = differentiate(train_state.params, *rest)
        distance = (
            gradient_distance(grads, by_autodiff(train_state.params, *rest)[1])
            if gradient == "both"
            else None
        )
        norm = global_norm(grads)
        finite = jnp.isfinite(value) & jnp.isfinite(norm)
        if distance is not None:
            finite = finite & jnp.isfinite(distance)
        return _Look(rest, value, auxiliary, grads, distance, norm, finite)

    def info_of(look: _Look, params: PyTree) -> Info:
        """The rest of what a person wants to know, once the update is there."""
        finite = look.finite & all_finite((smallest(params), look.auxiliary.state))
        _, _, target, _, weights = look.rest
        return Info(
            look.value,
            {
                name: mean_over_examples(f(look.auxiliary.prediction, target), weights)[0]
                for name, f in (metrics or {}).items()
            },
            look.norm,
            look.distance,
            finite,
        )

    def advance(
        optimizer: Optimizer, train_state: TrainState, batch: Batch
    ) -> tuple[TrainState, Info]:
        look = looked_at(train_state, batch)
        # Computed again in the branch below: here, XLA keeps what the smallest parameter needs of it.
        updates, _ = optimizer.update(look.grads, train_state.optimizer, train_state.params)
        info = info_of(look, apply_updates(train_state.params, updates))

        def make(operands: tuple[TrainState, PyTree, PyTree]) -> TrainState:
            before, grads, state = operands
            updates, optimizer_state = optimizer.update(grads, before.optimizer, before.params)
            params = apply_updates(before.params, updates)
            return before._replace(
                params=params, state=state, optimizer=optimizer_state, step=before.step + 1
            )

        # A branch, not a select: a select of every leaf makes the step of an MLP a fifth slower.
        operands = (train_state, look.grads, look.auxiliary.state)
        after = jax.lax.cond(info.finite, make, lambda operands: operands[0], operands)
        return after if shardings is None else shardings.keep(after), info

    def advance_by_search(
        minimizer: Minimizer, train_state: TrainState, batch: Batch
    ) -> tuple[TrainState, Info]:
        look = looked_at(train_state, batch)

        def objective(params: PyTree) -> tuple[Array, PyTree]:
            (value, _), grads = differentiate(params, *look.rest)
            return value, grads

        # Once, and not in the branch below: it may evaluate the network many times.
        updates, memory = minimizer.update(
            objective, look.value, look.grads, train_state.optimizer, train_state.params
        )
        params = apply_updates(train_state.params, updates)
        info = info_of(look, params)
        made = train_state._replace(
            params=params, state=look.auxiliary.state, optimizer=memory, step=train_state.step + 1
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


def unpacked(batch: Batch) -> tuple[PyTree, PyTree, Array | None]:
    """The batch with its weights, or None where it has none.

    Raises:
      ValueError: it has neither two entries nor three.
    """
    if len(batch) not in (2, 3):
        raise ValueError(
            f"expected a batch (x, target) or (x, target, weights), got {len(batch)} entries"
        )
    x, target, *weights = batch
    return x, target, weights[0] if weights else None


def smallest(tree: PyTree) -> Array | None:
    """The leaf with the fewest elements, but not none; None if there is no such leaf."""
    return min((leaf for leaf in jax.tree.leaves(tree) if leaf.size), key=_size, default=None)


def _size(leaf: Array) -> int:
    return leaf.size


def all_finite(tree: PyTree) -> Array:
    """Whether no floating leaf holds an infinity or a NaN."""
    finite = jnp.asarray(True)
    for leaf in jax.tree.leaves(tree):
        if jnp.issubdtype(leaf.dtype, jnp.inexact):
            finite = finite & jnp.isfinite(leaf).all()
    return finite


def global_norm(tree: PyTree) -> Array:
    """√Σ x² over all leaves, in float32 or wider."""
    total: Any = 0.0
    leaves = jax.tree.leaves(tree)
    dtype = accumulation_dtype(computing_dtype(*leaves)) if leaves else float
    for leaf in leaves:
        wide = leaf.astype(accumulation_dtype(leaf.dtype))
        # Column sums first, which are vectorized; `abs`, which changes nothing, keeps XLA:CPU from
        # merging the two sums into a single one and cutting that into several passes.
        columns = jnp.square(wide.reshape(math.prod(leaf.shape[:-1]), *leaf.shape[-1:])).sum(axis=0)
        total = total + jnp.abs(columns).sum().astype(dtype)
    return jnp.sqrt(total)


def gradient_distance(hand: PyTree, auto: PyTree) -> Array:
    """The largest relative distance, over the leaves, between two derivations of one gradient.

    For a leaf, ``‖hand - auto‖ / max(‖auto‖, ‖all of auto‖ / 100)``: the floor keeps a leaf whose true
    gradient is 0 (a bias before a batch norm) from dividing rounding by rounding.
    """
    floor = global_norm(auto) / 100
    distances = [
        global_norm(h - a).astype(floor.dtype)
        / jnp.maximum(jnp.maximum(global_norm(a).astype(floor.dtype), floor), 1e-30)
        for h, a in zip(jax.tree.leaves(hand), jax.tree.leaves(auto), strict=True)
    ]
    return jnp.stack(distances).max() if distances else jnp.zeros((), jnp.float32)
