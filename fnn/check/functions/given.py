"""A function in the dtypes that it was given, for one that computes in a dtype of its own choice.

The reference is differentiated in float64 where it stays in it, and in the given dtypes otherwise. With
ε that of the lowest dtype inside, gradients are compared at

    tolerance = ε^(2/3)    of    max(‖reference‖, 50 ε^(1/3) ‖dy‖ max(gain, 0.1)),

which is 2e-5 in float32, 1 % in float16 and 4 % in bfloat16, and forgives some fifty units in the last
place of the terms where a gradient cancels. Differences have too few digits left to prove anything, so
there has to be something that autodiff can differentiate.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from fnn.check.battery import Findings
from fnn.check.compare import LEAST_GAIN, norm, ratio
from fnn.check.functions.binding import Backward, Binding, Forward, vjp
from fnn.check.functions.narrowing import lowest_dtype, narrowed
from fnn.check.functions.rules import forward_rule, value
from fnn.check.functions.witness import modes, witness_of
from fnn.check.guard import guarded
from fnn.check.methods.contract import deterministic, given_structure
from fnn.check.methods.rows import element_rows
from fnn.check.precision import dtype_of, exact, standard_flags, widen
from fnn.check.probes import Probe, draw
from fnn.check.reports.report import Row
from fnn.check.subject import Gradient, Subject, as_vector, point
from fnn.check.trial import Trial, run_backward, run_forward
from fnn.layer import PyTree


class Scale(NamedTuple):
    """What is tolerated: a relative error, and of which norm at least."""

    epsilon: float
    tolerance: float

    @property
    def floor(self) -> float:
        """The least norm, as a part of that of dy times the gain."""
        return min(1.0, 50 * self.epsilon ** (1 / 3))


def given_findings(
    name: str,
    own: Binding,
    given: Binding | None,
    others: PyTree,
    x: PyTree,
    *,
    seed: int = 0,
    dy: PyTree | None = None,
    tolerance: float | None = None,
) -> tuple[str, Findings]:
    """(what it was compared with, what was found) of a function in the dtypes of its arguments.

    Raises:
      TypeError: there is no reference that has a reverse mode.
    """
    has_float64 = any(dtype_of(leaf) == np.float64 for leaf in jax.tree.leaves((others, x)))
    settings = partial(_settings, has_float64)
    with settings():
        others, x = jax.tree.map(jnp.asarray, (others, x))
        witness = witness_of(name, own, given, others, x)
        if witness.binding is None or not witness.modes.reverse:
            raise TypeError(
                f"{name}: expected a reference with a reverse mode, got {witness.label}; "
                "give a plain formula as `reference=`"
            )
        dtype = lowest_dtype(own, others, x)
        own_modes = modes(own, others, x)
        scale = _scale(dtype, tolerance)
        forward = Forward(own, witness.binding)
        subject = guarded(Subject(name, forward, Backward(own), (), others, x, None))
        trial = _attempt(subject, seed, dy)
        rows = [
            *given_structure(subject),
            *value(own, given, others, x, trial.y, tolerance=scale.tolerance),
        ]
        if own_modes.forward and witness.modes.forward:
            rows += forward_rule(
                own,
                witness.binding,
                others,
                x,
                seed=seed,
                tolerance=scale.tolerance,
                floor=scale.floor,
            )
    in_float64 = given is not None and _stays(witness.binding, others, x)
    with exact() if in_float64 else settings():
        at = widen((others, x)) if in_float64 else (others, x)
        rows += _reverse(trial, vjp(witness.binding, *at)[1], scale)
    rows += deterministic(trial, settings=settings)
    where = " in float64" if in_float64 else ""
    return f"{witness.label}{where}, at the precision of {dtype}", Findings(tuple(rows), ())


@contextmanager
def _settings(float64: bool) -> Iterator[None]:
    with standard_flags(), jax.enable_x64(float64), jax.default_matmul_precision("highest"):
        yield


def _scale(dtype: Any, tolerance: float | None) -> Scale:
    epsilon = float(jnp.finfo(dtype).eps)
    return Scale(epsilon, epsilon ** (2 / 3) if tolerance is None else tolerance)


def _stays(reference: Binding, others: PyTree, x: PyTree) -> bool:
    """Whether the reference computes in float64 if it is given that."""
    with exact():
        return not narrowed(reference, *widen((others, x)))


def _attempt(subject: Subject, seed: int, dy: PyTree | None) -> Trial:
    """As `trial.attempt`, with cotangents that the outputs' dtypes hold exactly."""
    y, cache = run_forward(subject.forward, *point(subject))
    probes = tuple(
        Probe(
            probe.name,
            jax.tree.map(
                lambda a, like: np.asarray(a).astype(like.dtype).astype(np.float64), probe.dy, y
            ),
        )
        for probe in draw(y, seed, dy)
    )
    hand = tuple(
        Gradient(*run_backward(subject.backward, subject.params, cache, probe.dy))
        for probe in probes
    )
    return Trial(subject, y, cache, probes, hand, seed)


def _reverse(trial: Trial, pull_back: Callable[[PyTree], PyTree], scale: Scale) -> list[Row]:
    """Every element of every leaf, against the reference's `jax.vjp`: one row a leaf, its worst probe."""
    truth = [
        [np.asarray(leaf, np.float64) for leaf in jax.tree.leaves(pull_back(probe.dy))]
        for probe in trial.probes
    ]
    dys = [norm(as_vector(probe.dy)) for probe in trial.probes]
    gain = max(
        (ratio(norm(a), dy) for leaves, dy in zip(truth, dys, strict=True) for a in leaves if dy),
        default=0.0,
    )
    floors = [scale.floor * dy * max(gain, LEAST_GAIN) for dy in dys]
    return element_rows("reverse mode", trial, truth, floors, scale.tolerance)
