"""The second derivative: forward mode through the hand-written gradient against that of `jax.vjp`.

With g(θ) = backward(params, cache, dy) at a fixed dy, θ the parameters and inputs, and the cache as
forward saves it at θ,

    d/dε g(θ + ε t) at ε = 0        by `jax.jvp` of the hand-written passes
    the same                        by `jax.jvp` of `jax.vjp` of the forward pass

A gradient can be right and its own derivative wrong: what is held fixed by `stop_gradient`, or saved in
a dtype or through a conversion that autodiff cannot see, counts as constant. Hessians, penalties on a
gradient and implicit derivatives are then wrong. Everything runs outside of `jit` (see `reverse`).
"""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from fnn.check.compare import Array, compare_arrays, floor_of, norm, ratio
from fnn.check.methods.references import Leaves, at, auto_gradient_of, gradient_of
from fnn.check.precision import exact
from fnn.check.probes import direction
from fnn.check.remembered import traced_once
from fnn.check.reports.report import Row
from fnn.check.reports.verdicts import first_line, undecided_row
from fnn.check.subject import as_vector, point, real_leaves
from fnn.check.trial import Trial
from fnn.layer import BackwardFunction, ForwardFunction, Key, PyTree

STEP = 1e-6  # of the one-sided differences that look for a kink
_METHOD = "second order"
_Gradients = list[Array | None]


def second_order(trial: Trial, *, tolerance: float = 1e-8) -> tuple[Row, ...]:
    """One seeded tangent on all leaves together, on the normal probe: one row a leaf.

        ‖ġ − reference‖ <= tolerance · max(‖reference‖, floor)        floor as in `compare`

    ``undecided``, with the reason, where this method cannot speak: forward mode refuses the passes or
    their reference (a `custom_vjp` inside, a callback), the gradient itself is wrong, or it has a kink
    at this point.
    """
    subject, leaves = trial.subject, real_leaves(trial.subject)
    real = [leaf for _, leaf in leaves]
    tangents = [direction(leaf.shape, trial.seed, i, 2) for i, leaf in enumerate(real)]
    with exact():
        dy = jax.device_put(trial.probes[0].dy)
        by_hand = gradient_of(subject, dy)
        given = (*point(subject), dy, jax.device_put(tangents))
        passes: dict[str, Callable[[], tuple[Any, Any]]] = {
            "the hand-written passes": lambda: _hand(subject.forward, subject.backward, *given),
            "`jax.vjp` of the forward pass": lambda: _auto(subject.forward, *given),
        }
        found = []
        for name, derivative in passes.items():
            try:
                found.append(_float64(derivative()))
            except Exception as error:  # whatever foreign code raises when it is differentiated
                why = f"`jax.jvp` refuses {name}: {first_line(error)}"
                return tuple(undecided_row(_METHOD, path, why, tolerance) for path, _ in leaves)
    hand, reference = found
    rows = []
    for i, (path, _) in enumerate(leaves):
        first, second = (
            _compare(path, i, hand[order], reference[order], as_vector(dy), tolerance)
            for order in (0, 1)
        )
        if first is None or second is None:
            continue  # `structure` says so
        why = ""
        if not first.ok:
            why = f"the gradient of {path} is itself another one here: see reverse mode"
        elif not second.ok and _has_kink(by_hand, real, tangents, i, hand[1], reference[1]):
            why = f"the gradient of {path} has a kink here, of which {second.element} is a part"
        rows.append(second._replace(verdict="undecided", predicate=why) if why else second)
    return tuple(rows)


@traced_once(2)
def _hand(
    forward: ForwardFunction,
    backward: BackwardFunction,
    params: PyTree,
    state: PyTree,
    x: PyTree,
    key: Key,
    dy: PyTree,
    tangents: list[Any],
) -> tuple[Any, Any]:
    """(g, ġ) by hand: the gradient of each leaf, and its derivative along the tangents."""
    subject = at(forward, params, state, x, key, backward)
    real = [leaf for _, leaf in real_leaves(subject)]
    return jax.jvp(gradient_of(subject, dy), (real,), (tangents,))


@traced_once(1)
def _auto(
    forward: ForwardFunction,
    params: PyTree,
    state: PyTree,
    x: PyTree,
    key: Key,
    dy: PyTree,
    tangents: list[Any],
) -> tuple[Any, Any]:
    """(g, ġ) by `jax.vjp` of the forward pass."""
    subject = at(forward, params, state, x, key)
    real = [leaf for _, leaf in real_leaves(subject)]
    return jax.jvp(auto_gradient_of(subject, dy), (real,), (tangents,))


def _float64(both: tuple[Any, Any]) -> tuple[_Gradients, _Gradients]:
    first, second = (
        [None if leaf is None else np.asarray(leaf, np.float64) for leaf in part] for part in both
    )
    return first, second


def _compare(
    path: str, i: int, hand: _Gradients, reference: _Gradients, dy: Array, tolerance: float
) -> Row | None:
    by_hand, expected = hand[i], reference[i]
    if by_hand is None or expected is None:
        return None
    gain = max((ratio(norm(leaf), norm(dy)) for leaf in reference if leaf is not None), default=0.0)
    return compare_arrays(
        _METHOD,
        path,
        by_hand,
        expected,
        floor=floor_of(dy, gain),
        tolerance=tolerance,
        probe="derivative along one tangent on all leaves, normal",
    )


def _has_kink(
    gradient: Callable[[Leaves], list[jax.Array | None]],
    real: Leaves,
    tangents: Leaves,
    i: int,
    hand: _Gradients,
    reference: _Gradients,
) -> bool:
    """Whether, wherever the two derivatives differ, the gradient has another slope on either side."""
    behind, here, ahead = (_gradient_at(gradient, real, tangents, i, s * STEP) for s in (-1, 0, 1))
    gap = np.abs(ahead - 2 * here + behind) / STEP
    second, expected = np.asarray(hand[i]), np.asarray(reference[i])
    difference = np.abs(second - expected)
    least = np.maximum(0.1 * difference, 1e-4 * np.abs(expected).max())  # more than curvature gives
    return bool((gap >= least)[difference > 0.1 * difference.max()].all())


def _gradient_at(
    gradient: Callable[[Leaves], list[jax.Array | None]],
    real: Leaves,
    tangents: Leaves,
    i: int,
    step: float,
) -> Array:
    with exact():
        moved = [leaf + step * tangent for leaf, tangent in zip(real, tangents, strict=True)]
        return np.asarray(gradient(moved)[i], np.float64)
