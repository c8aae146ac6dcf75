"""What the contract says of a backward pass besides its numbers.

- `structure`: dparams has exactly the tree, shapes and dtypes of params, dx those of x, and is None
  for integers; in float64, and, without running anything, in the dtypes that were given.
- `linearity`: backward(−1024 dy) = −1024 backward(dy), and backward(0) = 0.
- `eager`: outside of `jit`, with a cotangent of NumPy arrays, backward gives what it gives inside.
- `deterministic`: called twice on the same arguments, forward and backward give the same bits.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fnn.check.compare import compare_arrays, floor_of, norm, ratio
from fnn.check.precision import dtype_of, exact, is_real, standard_flags
from fnn.check.remembered import by_shapes
from fnn.check.reports.report import Row, worst_of
from fnn.check.subject import Gradient, Subject, Vector, as_vector, hand_leaves, point, real_leaves
from fnn.check.trial import Trial, run_backward
from fnn.layer import BackwardFunction, ForwardFunction, PyTree
from fnn.tree import paths

Settings = Callable[[], AbstractContextManager[None]]

_ABSENT = "nothing"
_FACTOR = -1024.0


def structure(trial: Trial) -> tuple[Row, ...]:
    """Trees, shapes and dtypes in float64: one row a leaf, and one for each leaf too many."""
    subject = trial.subject
    return _structure_rows(subject, trial.hand[0], "in float64")


def given_structure(subject: Subject) -> tuple[Row, ...]:
    """The same in the dtypes that the subject has, found by `jax.eval_shape`, which runs nothing."""
    has_float64 = any(dtype_of(a) == np.float64 for a in jax.tree.leaves(point(subject)))
    with standard_flags(), jax.enable_x64(has_float64):
        gradient = _shapes(subject.forward, subject.backward, *point(subject))
    return _structure_rows(subject, gradient, "in the dtypes given")


@by_shapes(2)
def _shapes(forward: ForwardFunction, backward: BackwardFunction, *arguments: PyTree) -> Gradient:
    def both(*arguments: PyTree) -> Gradient:
        y, _, cache = forward(*arguments)
        return Gradient(*backward(arguments[0], cache, y))

    found: Gradient = jax.eval_shape(both, *arguments)
    return found


def linearity(trial: Trial, *, tolerance: float = 1e-10) -> tuple[Row, ...]:
    """Whether the gradient is linear in dy, on the normal probe and at zero: one row a leaf.

    The factor is negative, so that an absolute value shows; large, so that a clip does; and a power of
    two, which rounds nothing.
    """
    subject, dy = trial.subject, trial.probes[0].dy
    zero, scaled = (
        _backward(trial, jax.tree.map(lambda leaf, s=scale: s * leaf, dy))
        for scale in (0.0, _FACTOR)
    )
    once = hand_leaves(subject, trial.hand[0])
    expected = [None if leaf is None else _FACTOR * leaf for leaf in once]
    nothing = [None if leaf is None else np.zeros_like(leaf) for leaf in once]
    dy_scaled = _FACTOR * as_vector(dy)
    scaled_rows = _compare(
        "linearity", trial, scaled, expected, dy_scaled, tolerance, f"{_FACTOR:.0f} · normal"
    )
    zero_rows = _compare("linearity", trial, zero, nothing, as_vector(dy), tolerance, "zero")
    return tuple(worst_of(pair) for pair in zip(scaled_rows, zero_rows, strict=True))


def eager(trial: Trial, *, tolerance: float = 1e-10) -> tuple[Row, ...]:
    """The backward pass outside of `jit`, on NumPy arrays as `jax.custom_vjp` passes them."""
    subject, probe = trial.subject, trial.probes[0]
    with exact():
        try:
            outside = Gradient(*subject.backward(subject.params, trial.cache, probe.dy))
        except Exception as error:
            error.add_note(
                f"{subject.name}: its backward was called outside of jit, with dy in NumPy arrays; "
                "`fnn.layer.as_arrays(dy)` makes jax arrays of them"
            )
            raise
    by_hand = hand_leaves(subject, outside)
    compiled = hand_leaves(subject, trial.hand[0])
    return _compare(
        "eager", trial, by_hand, compiled, as_vector(probe.dy), tolerance, "NumPy's normal"
    )


def deterministic(trial: Trial, *, settings: Settings = exact) -> tuple[Row, ...]:
    """Forward and backward twice, outside of `jit`, which would record one draw: bit for bit.

    One row for y, one for each leaf's gradient. What draws from `np.random`, counts its calls or
    remembers the last one has no derivative to check. Off the CPU, where sums may be taken in any order,
    a relative error of 1e-12 is tolerated.
    """
    subject, dy = trial.subject, trial.probes[0].dy
    with settings():
        arguments = jax.tree.map(jnp.asarray, dy)  # which no pass can write into
        outputs = [subject.forward(*point(subject))[0] for _ in range(2)]
        gradients = [
            Gradient(*subject.backward(subject.params, trial.cache, arguments)) for _ in range(2)
        ]
    first, second = (as_vector(y) for y in outputs)
    rows = [_same("y", first, second)] if first.shape == second.shape else []
    pairs = zip(*(hand_leaves(subject, gradient) for gradient in gradients), strict=True)
    for (path, _), (once, again) in zip(real_leaves(subject), pairs, strict=True):
        if once is not None and again is not None:
            rows.append(_same(path, once, again))
    return tuple(rows)


def _same(path: str, first: Vector, second: Vector) -> Row:
    row = compare_arrays(
        "deterministic",
        path,
        *without_common(first, second),
        floor=0.0,
        tolerance=0.0 if jax.default_backend() == "cpu" else 1e-12,
        probe="normal",
    )
    return row._replace(
        predicate="two calls on the same arguments, outside of jit, give the same bits",
        likely="" if row.ok else "it draws without a key, or remembers its earlier calls",
    )


def without_common(first: Vector, second: Vector) -> tuple[Vector, Vector]:
    """Both with 0 where neither is finite and they are the same: NaN, or the same infinity."""
    common = (np.isnan(first) & np.isnan(second)) | (np.isinf(first) & (first == second))
    return np.where(common, 0.0, first), np.where(common, 0.0, second)


def _backward(trial: Trial, dy: PyTree) -> list[Vector | None]:
    subject = trial.subject
    with exact():
        gradient = Gradient(*run_backward(subject.backward, subject.params, trial.cache, dy))
    return hand_leaves(subject, gradient)


def _compare(
    method: str,
    trial: Trial,
    hand: list[Vector | None],
    reference: list[Vector | None],
    dy: Vector,
    tolerance: float,
    probe: str,
) -> tuple[Row, ...]:
    gain = max((ratio(norm(leaf), norm(dy)) for leaf in reference if leaf is not None), default=0.0)
    return tuple(
        compare_arrays(
            method,
            path,
            by_hand,
            expected,
            floor=floor_of(dy, gain),
            tolerance=tolerance,
            probe=probe,
        )
        for (path, _), by_hand, expected in zip(
            real_leaves(trial.subject), hand, reference, strict=True
        )
        if by_hand is not None and expected is not None
    )


def _structure_rows(subject: Subject, gradient: Gradient, where: str) -> tuple[Row, ...]:
    expected = {
        path: _describe(leaf) if is_real(leaf) or path.startswith("params") else _ABSENT
        for path, leaf in paths(Gradient(subject.params, subject.x))
    }
    found = {path: _describe(leaf) for path, leaf in paths(gradient)}
    rows = [
        _row(path, found.get(path, _ABSENT), expected.get(path, _ABSENT), where)
        for path in (*expected, *(path for path in found if path not in expected))
    ]
    if all(row.ok for row in rows):  # a dict in place of a named tuple has the same paths
        due = Gradient(subject.params, jax.tree.map(lambda x: x if is_real(x) else None, subject.x))
        for path, tree, expected_tree in zip(Gradient._fields, gradient, due, strict=True):
            trees: tuple[Any, Any] = jax.tree.structure(tree), jax.tree.structure(expected_tree)
            if trees[0] != trees[1]:
                rows.append(_row(path, str(trees[0]), str(trees[1]), where))
    return tuple(rows)


def _row(path: str, found: str, expected: str, where: str) -> Row:
    same = found == expected
    return Row(
        method="structure",
        path=path,
        relative=0.0 if same else float("inf"),
        absolute=0.0 if same else float("inf"),
        element=None,
        hand=found,
        reference=expected,
        tolerance=0.0,
        verdict="ok" if same else "wrong",
        predicate=f"tree, shape and dtype of the gradient are those of {path}, {where}",
    )


def _describe(leaf: Any) -> str:
    return f"{dtype_of(leaf)}[{','.join(map(str, np.shape(leaf)))}]"
