"""What a loss is: one number an example, and the derivative of each, by hand.

The mean over the batch, weights and masks are no part of a loss: they are one visible line where the
gradient is taken. An example's loss may depend on the others of its batch (`nt_xent` does): `backward`
takes any dlosses, so that the line is the same for it.
"""

from collections.abc import Callable
from typing import NamedTuple, Protocol

from fnn.layer import Array, PyTree


class LossForward(Protocol):
    """The loss of every example, and what `backward` will need."""

    def __call__(self, prediction: PyTree, target: PyTree, /) -> tuple[Array, PyTree]: ...


class LossBackward(Protocol):
    """dL/dprediction, given dL/dlosses."""

    def __call__(self, cache: PyTree, dlosses: Array, /) -> PyTree: ...


class Loss(NamedTuple):
    """A loss: a pair of pure functions and their name.

        forward(prediction, target) -> (losses, cache)       losses (N,), or (N, T) of sequences
        backward(cache, dlosses)    -> dprediction           of dlosses = dL/dlosses, like losses
        chance(classes)             -> (prediction, target)  of every class that counts; or None

    A prediction is an array, or a tuple of arrays for a loss that compares several; `backward` gives what
    is like it, in its dtypes. Targets are data, not differentiated. The cache is any tree of arrays that
    `backward` needs. `chance` is, for a loss of classes, what a network predicts that knows nothing yet,
    with a target of each class (see `expected_initial_loss`). `fnn.check.loss` proves a pair right.
    """

    name: str
    forward: LossForward
    backward: LossBackward
    chance: Callable[[int], tuple[PyTree, PyTree]] | None = None
