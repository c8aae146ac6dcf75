"""What a check looks at: a layer at one point, its forward run, and its gradients by hand.

Everything that a method compares is computed once, in a `Trial`. Forward and backward are compiled
apart, so that the cache has to cross `jit` as it does in a train step.
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np

from fnn.check.guard import guarded
from fnn.check.precision import dtype_of, exact, is_real, widen
from fnn.check.probes import Probe, draw
from fnn.check.subject import Gradient, Subject, point
from fnn.layer import BackwardFunction, ForwardFunction, Key, PyTree
from fnn.tree import paths


class Trial(NamedTuple):
    """A subject in float64, run forward once and backward once for every probe."""

    subject: Subject
    y: PyTree
    cache: PyTree
    probes: tuple[Probe, ...]
    hand: tuple[Gradient, ...]  # one a probe
    seed: int


def attempt(subject: Subject, *, seed: int = 0, dy: PyTree | None = None) -> Trial:
    """Run the subject in float64 on seeded probes, and on the cotangent `dy` if there is one.

    What was given in a narrower dtype is made smaller by a part in 2^30 besides: a float64 that is a
    float32, too, would pass unharmed through a cast to it, and so would the fault of casting.

    Raises:
      TypeError: an output is not of a floating dtype, so that it has no cotangent.
    """
    with exact():
        subject = guarded(subject)
        params, x = jax.tree.map(_off_the_grid, (subject.params, subject.x))
        subject = subject._replace(params=params, state=widen(subject.state), x=x)
        y, cache = run_forward(subject.forward, *point(subject))
        for path, leaf in paths(y):
            if not is_real(leaf):
                raise TypeError(
                    f"{subject.name}: expected floating outputs, got {leaf.dtype} at 'y/{path}'; "
                    "a layer with integer outputs has no gradient to check"
                )
        probes = draw(y, seed, dy)
        hand = tuple(
            Gradient(*run_backward(subject.backward, params, cache, probe.dy)) for probe in probes
        )
    return Trial(subject, y, cache, probes, hand, seed)


def _off_the_grid(leaf: Any) -> jax.Array:
    """A real leaf in float64 and between the numbers of any narrower dtype; zeros and ties stay such."""
    wide = widen(leaf)
    return wide if not is_real(wide) or dtype_of(leaf) == np.float64 else wide * (1 - 2.0**-30)


# Compiled once a layer and shape: further seeds and steps cost only their run.
@partial(jax.jit, static_argnums=0)
def run_forward(
    forward: ForwardFunction, params: PyTree, state: PyTree, x: PyTree, key: Key
) -> tuple[PyTree, PyTree]:
    """The training pass: (y, cache)."""
    y, _, cache = forward(params, state, x, key)
    return y, cache


@partial(jax.jit, static_argnums=0)
def run_backward(
    backward: BackwardFunction, params: PyTree, cache: PyTree, dy: PyTree
) -> tuple[PyTree, PyTree]:
    """The hand-written pass: (dparams, dx)."""
    return backward(params, cache, dy)
