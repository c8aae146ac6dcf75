"""`layer` and `loss`: every method on one layer, or on one loss, in one call."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fnn.check.battery import METHODS, examine
from fnn.check.methods.convention import Convention
from fnn.check.precision import is_real, standard_flags
from fnn.check.reports.report import Report
from fnn.check.subject import Subject
from fnn.check.trial import Trial, attempt
from fnn.layer import Key, Layer, PyTree
from fnn.losses.loss import Loss

_JITTER = 0.1


def layer(
    layer: Layer,
    x: PyTree,
    *,
    params: PyTree | None = None,
    state: PyTree | None = None,
    key: Key = None,
    dy: PyTree | None = None,
    seed: int = 0,
    tolerance: float = 1e-10,
    methods: Sequence[str] = METHODS,
    convention: Convention | None = None,
) -> Report:
    """Prove a layer's backward at one point and at structured ones, leaf by leaf, in float64.

    All of `METHODS` by default; each is also a function of a `Trial` (see `trial_of`).

    Args:
      layer: the layer, or a whole network as one.
      x: its input: a tree of arrays in which integers are allowed; raised to float64 here.
      params: taken as they are. Without them: those of `layer.init`, each moved at random by a tenth of
        its size, since a bias of 0 and a scale of 1 hide the faults in which they are forgotten.
      state: without it, that of `layer.init`.
      key: for a layer that draws; without it, `jax.random.key(seed)`.
      dy: a cotangent to use besides the probes, which are normal, ones and one basis vector.
      seed: of the probes, the directions and the parameters' displacement.
      tolerance: of the relative error in reverse and forward mode; differences have one of their own.
      methods: the names of those to run, in any order.
      convention: the derivative at a kink that the layer's author states, to be held to: a number for an
        elementwise function; "first", "last" or "split" for the one of equal maxima that takes dy.

    Raises:
      TypeError: an output is of integers, or a leaf is complex.
    """
    subject = given_subject(layer, x, params=params, state=state, key=key, seed=seed)
    trial = attempt(subject, seed=seed, dy=dy)
    found = examine(subject, trial, tolerance=tolerance, methods=methods, convention=convention)
    return Report(layer.name, *found, seed=seed)


def loss(
    loss: Loss,
    prediction: PyTree,
    target: PyTree,
    *,
    dlosses: PyTree | None = None,
    seed: int = 0,
    tolerance: float = 1e-10,
    methods: Sequence[str] = METHODS,
) -> Report:
    """Prove a loss's backward for this prediction and target, as `layer` does a layer's.

    The prediction is `x` in the report. The target is data: it has no gradient.
    """
    subject = loss_subject(loss, prediction, target)
    trial = attempt(subject, seed=seed, dy=dlosses)
    return Report(
        loss.name, *examine(subject, trial, tolerance=tolerance, methods=methods), seed=seed
    )


def trial_of(
    layer: Layer,
    x: PyTree,
    *,
    params: PyTree | None = None,
    state: PyTree | None = None,
    key: Key = None,
    dy: PyTree | None = None,
    seed: int = 0,
) -> Trial:
    """What `layer` checks, for one method alone: ``reverse_mode(trial_of(linear(3), x))``."""
    subject = given_subject(layer, x, params=params, state=state, key=key, seed=seed)
    return attempt(subject, seed=seed, dy=dy)


def given_subject(
    layer: Layer, x: PyTree, *, params: PyTree | None, state: PyTree | None, key: Key, seed: int
) -> Subject:
    """A layer at a point, in the dtypes that were given."""
    with standard_flags():
        key = jax.random.key(seed) if key is None else key
        if params is None or state is None:
            initial, initial_state = layer.init(key, jax.tree.map(jnp.asarray, x))
            params = _displaced(initial, seed) if params is None else params
            state = initial_state if state is None else state
    return Subject(layer.name, layer.forward, layer.backward, params, state, x, key)


def loss_subject(loss: Loss, prediction: PyTree, target: PyTree) -> Subject:
    """A loss in a layer's form: the prediction is x, and the target is state."""

    def forward(
        params: PyTree, state: PyTree, x: PyTree, key: Key
    ) -> tuple[PyTree, PyTree, PyTree]:
        del key  # a loss draws nothing
        losses, cache = loss.forward(x, state)
        return losses, state, (params, cache)

    def backward(params: PyTree, cache: PyTree, dy: PyTree) -> tuple[PyTree, PyTree]:
        return params, loss.backward(cache[1], dy)

    return Subject(loss.name, forward, backward, (), target, prediction, None)


def _displaced(params: PyTree, seed: int) -> PyTree:
    """Each real leaf plus a tenth of its root mean square (or of 1, where that is 0) at random."""
    rng = np.random.default_rng(seed)

    def leaf(value: Any) -> jax.Array:
        array = np.asarray(value)
        if not is_real(array):
            return value
        wide = array.astype(np.float64)
        size = np.sqrt(np.mean(wide**2)) if wide.size else 0.0
        moved = wide + _JITTER * (size or 1.0) * rng.standard_normal(wide.shape)
        return jnp.asarray(moved.astype(array.dtype))

    return jax.tree.map(leaf, params)
