"""The whole Jacobian at small shapes: no row of it can hide behind the others.

Row j of the Jacobian is what the backward pass gives for the basis cotangent e_j. A probe sums all rows
with random weights, so that one which is a billion times smaller than another is lost in its rounding;
here every row is compared on a scale of its own.
"""

from functools import partial
from typing import Any

import jax
import numpy as np
from jax import lax

from fnn.check.compare import FLOOR, LEAST_GAIN, Array, compare_arrays
from fnn.check.methods.references import at, output_of
from fnn.check.precision import exact
from fnn.check.remembered import traced_once
from fnn.check.reports.report import Row
from fnn.check.subject import Gradient, as_vector, point, real_leaves
from fnn.check.trial import Trial
from fnn.layer import BackwardFunction, ForwardFunction, Key, PyTree
from fnn.tree import paths


def jacobian(trial: Trial, *, tolerance: float = 1e-10, largest: int = 2**18) -> tuple[Row, ...]:
    """Every row of the Jacobian by hand against autodiff: one row a leaf, its worst output element.

    With H_j and R_j row j of one leaf's Jacobian by hand and by the reference,

        ‖H_j − R_j‖ <= tolerance · max(‖R_j‖, floor_j),    floor_j = 1e-4 · max(gain_j, 0.1),

    where gain_j is the largest ‖R_j‖ of any leaf (see `compare`). The reference is forward or reverse
    mode, whichever needs fewer passes, linearized outside of `jit`.

    Beyond `largest` elements (outputs times inputs) there are no rows: the probes of the other
    methods do not grow with the square of the size.
    """
    subject = trial.subject
    leaves = real_leaves(subject)
    outputs, inputs = as_vector(trial.y).size, sum(leaf.size for _, leaf in leaves)
    if not 0 < outputs * inputs <= largest:
        return ()
    with exact():
        hand = _by_hand(trial, outputs)
        reference = _reference(trial, outputs, inputs)
    gain = np.max([_norms(leaf) for leaf in reference], axis=0)  # (outputs,)
    floor = FLOOR * np.maximum(gain, LEAST_GAIN)
    rows = []
    for i, (path, _) in enumerate(leaves):
        by_hand = hand[i]
        if by_hand is None:
            continue  # `structure` says so
        with np.errstate(invalid="ignore", over="ignore"):  # a NaN counts as the largest
            error = _norms(by_hand - reference[i]) / np.maximum(_norms(reference[i]), floor)
        j = int(np.argmax(error))
        row = compare_arrays(
            "jacobian",
            path,
            by_hand[j],
            reference[i][j],
            floor=float(floor[j]),
            tolerance=tolerance,
            probe=f"the worst of {outputs} basis vectors, {_name(trial.y, j)}'s, for",
        )
        rows.append(row)
    return tuple(rows)


def _by_hand(trial: Trial, outputs: int) -> list[Array | None]:
    """(outputs, *leaf) for each real leaf, one basis vector at a time; None where one is missing."""
    subject = trial.subject
    basis = _stacked_basis(trial.y, outputs)
    stacked = _mapped(subject.backward, subject.params, trial.cache, basis)
    found = dict(paths(Gradient(*stacked)))
    return [
        np.asarray(found[path], np.float64)
        if path in found and np.shape(found[path]) == (outputs, *leaf.shape)
        else None
        for path, leaf in real_leaves(subject)
    ]


def _reference(trial: Trial, outputs: int, inputs: int) -> list[Array]:
    """The same by reverse mode, or by forward mode where there are fewer inputs than outputs."""
    subject = trial.subject
    real = [leaf for _, leaf in real_leaves(subject)]
    if outputs <= inputs:
        found = _pulled_back(subject.forward, *point(subject), _stacked_basis(trial.y, outputs))
        return [np.asarray(leaf) for leaf in found]
    images = jax.tree.leaves(
        _pushed_forward(subject.forward, *point(subject), _stacked_basis(real, inputs))
    )
    transposed = np.concatenate([np.reshape(leaf, (inputs, -1)) for leaf in images], axis=1)
    ends = np.cumsum([leaf.size for leaf in real])[:-1]
    return [
        rows.T.reshape(outputs, *leaf.shape)
        for rows, leaf in zip(np.split(transposed, ends), real, strict=True)
    ]


@partial(jax.jit, static_argnums=0)
def _mapped(
    backward: BackwardFunction, params: PyTree, cache: PyTree, basis: PyTree
) -> tuple[PyTree, PyTree]:
    return lax.map(lambda e: backward(params, cache, e), basis)


@traced_once(1)
def _pulled_back(
    forward: ForwardFunction, params: PyTree, state: PyTree, x: PyTree, key: Key, basis: PyTree
) -> list[Any]:
    subject = at(forward, params, state, x, key)
    _, pull_back = jax.vjp(output_of(subject), [leaf for _, leaf in real_leaves(subject)])
    return list(jax.vmap(pull_back)(basis)[0])


@traced_once(1)
def _pushed_forward(
    forward: ForwardFunction, params: PyTree, state: PyTree, x: PyTree, key: Key, basis: PyTree
) -> PyTree:
    subject = at(forward, params, state, x, key)
    real = [leaf for _, leaf in real_leaves(subject)]
    return jax.vmap(jax.linearize(output_of(subject), real)[1])(basis)


def _stacked_basis(like: PyTree, size: int) -> PyTree:
    """Every basis vector of the space of trees like this one, along a first axis."""
    leaves, tree = jax.tree.flatten(like)
    ends = np.cumsum([leaf.size for leaf in leaves])[:-1]
    columns = np.split(np.eye(size), ends, axis=1)
    return jax.tree.unflatten(
        tree,
        [
            jax.device_put(column.reshape(size, *leaf.shape))
            for column, leaf in zip(columns, leaves, strict=True)
        ],
    )


def _norms(rows: Array) -> Array:
    """The Euclidean norm of each row, over all axes but the first."""
    return np.sqrt(np.square(rows.reshape(rows.shape[0], -1)).sum(axis=1))


def _name(y: PyTree, j: int) -> str:
    """Element j of an output tree, such as ``y/0[2, 1]``."""
    for path, leaf in paths(y):
        if j < leaf.size:
            index = ", ".join(str(int(i)) for i in np.unravel_index(j, leaf.shape))
            return f"y{'/' if path else ''}{path}[{index}]"
        j -= leaf.size
    raise IndexError(f"expected the number of an output element, got {j} beyond the last one")
