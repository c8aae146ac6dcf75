"""`layer` and `loss`: every method on one layer, or on one loss, in one call."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fnn.check.contract import eager, given_structure, linearity, structure
from fnn.check.differences import numerical
from fnn.check.forward import forward_mode
from fnn.check.precision import dtype_of, is_real, standard_flags
from fnn.check.report import Report, Row
from fnn.check.reverse import reverse_mode
from fnn.check.trial import Subject, Trial, attempt
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
) -> Report:
    """Prove a layer's backward at one point, leaf by leaf, in float64.

    Six methods: structure, reverse mode, forward mode, central differences, linearity in dy, and the
    same result outside of `jit`. Each is also a function of a `Trial` (see `trial_of`).

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

    Raises:
      TypeError: an output is of integers, or a leaf is complex.
    """
    subject = given_subject(layer, x, params=params, state=state, key=key, seed=seed)
    trial = attempt(subject, seed=seed, dy=dy)
    return Report(layer.name, all_rows(subject, trial, tolerance))


def loss(
    loss: Loss,
    prediction: PyTree,
    target: PyTree,
    *,
    dlosses: PyTree | None = None,
    seed: int = 0,
    tolerance: float = 1e-10,
) -> Report:
    """Prove a loss's backward for this prediction and target, as `layer` does a layer's.

    The prediction is `x` in the report. The target is data: it has no gradient.
    """
    subject = loss_subject(loss, prediction, target)
    trial = attempt(subject, seed=seed, dy=dlosses)
    return Report(loss.name, all_rows(subject, trial, tolerance))


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
    key = jax.random.key(seed) if key is None else key
    if params is None or state is None:
        with standard_flags():
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


def all_rows(given: Subject, trial: Trial, tolerance: float) -> tuple[Row, ...]:
    """Every method on one trial; `given` is its subject before it was raised to float64."""
    return (
        *structure_rows(given, trial),
        *reverse_mode(trial, tolerance=tolerance),
        *forward_mode(trial, tolerance=tolerance),
        *numerical(trial),
        *linearity(trial, tolerance=tolerance),
        *eager(trial, tolerance=tolerance),
    )


def structure_rows(given: Subject, trial: Trial) -> tuple[Row, ...]:
    """The structure in float64 and in the dtypes given: one row a leaf, the one that is wrong if any."""
    found = list(structure(trial))
    if not _has_float64(given):  # else `jax.eval_shape` would see it cut down to float32
        found += given_structure(given)
    by_path: dict[str, list[Row]] = {}
    for row in found:
        by_path.setdefault(row.path, []).append(row)
    return tuple(next((row for row in rows if not row.ok), rows[0]) for rows in by_path.values())


def _has_float64(subject: Subject) -> bool:
    leaves = jax.tree.leaves((subject.params, subject.state, subject.x))
    return any(dtype_of(leaf) == np.float64 for leaf in leaves)


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
