"""Schedule-free optimizers: the mean of all steps in place of a rate that falls.

Three points move together: z takes the steps, x is the weighted mean of all z, and y, between the two, is
where gradients are taken. The parameters of a training loop are y. `averaged_parameters` gives x, which
is what to evaluate, save and publish.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from fnn.layer import Array, PyTree
from fnn.optimizers.hyperparameters import (
    Given,
    Hyper,
    check_hyper,
    current_hyper,
    first_step,
    initial_hyper,
    next_step,
    started,
)
from fnn.optimizers.leafwise import State, check_alike, check_kind, leafwise, owned, zeros
from fnn.optimizers.optimizer import Optimizer, compose
from fnn.optimizers.rules import subtree
from fnn.optimizers.transforms.decay import decay_weights
from fnn.tree import paths


class ScheduleFreeState(NamedTuple):
    """The points of a schedule-free optimizer that are not the parameters."""

    steps: Array  # (), int32, made so far
    hyper: Hyper  # the hyperparameters that were given as numbers
    interpolation: Array  # (), float: of the last step, how far y is from z to x
    largest: Array  # (), float: the largest rate so far
    weights: Array  # (), float: the sum of the weights of all z
    slots: dict[str, PyTree]  # "z", like params, at least float32
    direction: PyTree  # what the direction of the steps remembers


def schedule_free_sgd(
    rate: Given = 1.0,
    interpolation: Given = 0.9,
    weight_decay: Given = 0.0,
    weight_power: Given = 2.0,
    *,
    warmup_steps: int = 0,
) -> Optimizer:
    """Gradient descent whose mean needs no falling rate.

        t ← t + 1        r ← rate · min(1, t / warmup_steps)
        z ← z - r · (g + weight_decay · y)
        w ← (largest r so far)^weight_power        c ← w / (sum of all w)
        x ← (1 - c) · x + c · z        y ← (1 - interpolation) · z + interpolation · x

    The parameters are y; `averaged_parameters` gives x, which is to be evaluated. The rate is some 10 to
    50 times that of plain descent.

    Hyperparameters: rate, interpolation (at least 0.01), weight_decay, weight_power. State: z for
    every parameter, at least float32; x is computed from y and z, as exact as the parameters' dtype.

    Source: Defazio et al. (2024).

    Raises:
      ValueError: a hyperparameter is a number out of range, or there are negative steps of warmup.
    """
    return _schedule_free(
        decay_weights(weight_decay), rate, interpolation, weight_power, warmup_steps
    )


def schedule_free_adamw(
    rate: Given = 2.5e-3,
    interpolation: Given = 0.9,
    b2: Given = 0.999,
    eps: Given = 1e-8,
    weight_decay: Given = 0.0,
    weight_power: Given = 2.0,
    *,
    warmup_steps: int = 0,
) -> Optimizer:
    """AdamW whose mean needs no falling rate, and no mean of the gradients.

        t ← t + 1        r ← rate · min(1, t / warmup_steps)
        v ← b2 · v + (1 - b2) · g²        u ← g / (√(v / (1 - b2ᵗ)) + eps)
        z ← z - r · (u + weight_decay · y)
        w ← (largest r so far)^weight_power        c ← w / (sum of all w)
        x ← (1 - c) · x + c · z        y ← (1 - interpolation) · z + interpolation · x

    The parameters are y; `averaged_parameters` gives x, which is to be evaluated. `interpolation` stands
    for Adam's b1.

    Hyperparameters: rate, interpolation (at least 0.01), b2, eps, weight_decay, weight_power. State: z
    and v for every parameter, at least float32; x is computed from y and z, as exact as the parameters'
    dtype.

    Source: Defazio et al. (2024).

    Raises:
      ValueError: a hyperparameter is a number out of range, or there are negative steps of warmup.
    """

    def prepare(h: Any, t: Array) -> dict[str, Array]:
        return {"square_share": 1 - h.b2, "square_scale": 1 / started(h.b2, t)}

    def rule(h: Any, g: Array, p: Array, v: Array) -> tuple[Array, Array]:
        del p  # the direction depends on the gradients alone
        v = h.b2 * v + h.square_share * jnp.square(g)
        return g / (jnp.sqrt(v * h.square_scale) + h.eps), v

    squares = leafwise(rule, hyper={"b2": b2, "eps": eps}, slots={"square": zeros}, prepare=prepare)
    direction = compose(squares=squares, decay=decay_weights(weight_decay))
    return _schedule_free(direction, rate, interpolation, weight_power, warmup_steps)


def averaged_parameters(state: PyTree, params: PyTree) -> PyTree:
    """The mean x of all steps, which a schedule-free optimizer is evaluated at, in the parameters' dtype.

    `state` may be that of the optimizer itself or of a composition around it. Parameters that no
    schedule-free optimizer moves (those of other groups) come as they are.

    Raises:
      ValueError: the state holds no schedule-free one, two of one parameter, or one of other parameters.
    """

    def is_ours(part: Any) -> bool:
        return isinstance(part, ScheduleFreeState)

    found = [part for part in jax.tree.leaves(state, is_leaf=is_ours) if is_ours(part)]
    if not found:
        raise ValueError("expected the state of a schedule-free optimizer, got none in it")
    named = paths(params)
    means: dict[str, Array] = {}
    for ours in found:
        points = dict(paths(ours.slots["z"]))
        check_alike(
            ours.slots["z"],
            subtree(params, [path in points for path, _ in named]),
            "z in the state",
        )
        for path, y in named:
            if path in points and path in means:
                raise ValueError(
                    f"expected one schedule-free state of each parameter, got two of {path!r}"
                )
            if path in points:
                z = points[path]
                share = ours.interpolation.astype(z.dtype)
                means[path] = _mean(y.astype(z.dtype), z, share).astype(y.dtype)
    leaves = [means.get(path, y) for path, y in named]
    return jax.tree.unflatten(jax.tree.structure(params), leaves)


def _mean(y: Array, z: Array, share: Array) -> Array:
    """x, of y = (1 - share) · z + share · x; as a step from z, so that x = z where y = z."""
    return z + (y - z) / share


def _schedule_free(
    direction: Optimizer, rate: Given, interpolation: Given, weight_power: Given, warmup_steps: int
) -> Optimizer:
    """Steps against `direction`, averaged."""
    given = {"rate": rate, "interpolation": interpolation, "weight_power": weight_power}
    check_hyper(**given)
    if warmup_steps < 0:
        raise ValueError(f"expected warmup_steps at least 0, got {warmup_steps}")

    def rule(h: Any, d: Array, y: Array, z: Array) -> tuple[Array, Array]:
        # The parameters may have been moved by others since; x follows from where they are.
        x = _mean(y, z, h.before)
        z = z - h.rate * d
        x = x + h.share * (z - x)
        return (z - y) + h.interpolation * (x - z), z

    # The lift over the tree; the scalars are handed to it as the state of each step.
    names = ("rate", "share", "before", "interpolation")
    lifted = leafwise(rule, hyper=dict.fromkeys(names, 0.5), slots={"z": owned})

    def init(params: PyTree) -> ScheduleFreeState:
        return ScheduleFreeState(
            first_step(),
            initial_hyper(**given),
            _scalar(1.0),
            _scalar(0.0),
            _scalar(0.0),
            lifted.init(params).slots,
            direction.init(params),
        )

    def update(
        grads: PyTree, state: ScheduleFreeState, params: PyTree
    ) -> tuple[PyTree, ScheduleFreeState]:
        check_kind(state, ScheduleFreeState)
        h = current_hyper(state.hyper, state.steps, **given)
        steps = next_step(state.steps)
        progress = steps.astype(jnp.result_type(float)) / max(warmup_steps, 1)
        now = h["rate"] * jnp.minimum(1, progress)
        largest = jnp.maximum(state.largest, now)
        weight = largest ** h["weight_power"]
        weights = state.weights + weight
        scalars = {
            "rate": now,
            # Before the first rate above 0, nothing has moved.
            "share": jnp.where(weights > 0, weight / jnp.where(weights > 0, weights, 1), 0),
            "before": state.interpolation,
            "interpolation": h["interpolation"],
        }
        d, inner = direction.update(grads, state.direction, params)
        updates, new = lifted.update(d, State(None, scalars, state.slots), params)
        return updates, ScheduleFreeState(
            steps, state.hyper, h["interpolation"], largest, weights, new.slots, inner
        )

    return compose(average=Optimizer(init, update))


def _scalar(value: float) -> Array:
    return jnp.asarray(np.asarray(value), dtype=float)
