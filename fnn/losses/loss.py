"""What a loss is: one number an example, and the derivative of each, by hand.

    forward(prediction, target) -> (losses, cache)       losses: one an example
    backward(cache, dlosses)    -> dprediction           of dlosses = dL/dlosses

The mean over the batch, weights and masks are no part of a loss: they are one visible line where the
gradient is taken. Targets are data, not differentiated.
"""

from typing import NamedTuple, Protocol

import jax

from fnn.layer import Array, PyTree


class LossForward(Protocol):
    """The loss of every example, and what `backward` will need."""

    def __call__(self, prediction: Array, target: Array, /) -> tuple[Array, PyTree]: ...


class LossBackward(Protocol):
    """dL/dprediction, given dL/dlosses."""

    def __call__(self, cache: PyTree, dlosses: Array, /) -> Array: ...


class Loss(NamedTuple):
    """A loss: a pair of pure functions and their name."""

    name: str
    forward: LossForward
    backward: LossBackward


def is_concrete(x: object) -> bool:
    """Whether values can be looked at: not inside `jit`, `vmap`, `grad` or `scan`."""
    return not isinstance(x, jax.core.Tracer)
