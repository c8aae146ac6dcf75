"""A recurrent network that sees the future, too."""

from typing import Protocol

from fnn.compose.concatenate import concatenate
from fnn.layer import Layer


class Directed(Protocol):
    """Builds a recurrent layer that runs in the order of time, or in reverse."""

    def __call__(self, *, reverse: bool) -> Layer: ...


def bidirectional(build: Directed) -> Layer:
    """Two recurrent layers on the same sequence, one in each direction, side by side.

        bidirectional(functools.partial(lstm, 64))

    Forward: ``y_t = [forward_t, reverse_t]``, where the first has seen steps 0 to t, the second t to the
    last. Backward: each gets its half of dy, and dx is the sum of both. Shapes: x (N, T, D), or with the
    option `lengths` of both (x, lengths); y (N, T, 2 H). Cache: that of the two. It is
    ``concatenate(forward=build(reverse=False), reverse=build(reverse=True))``.
    Source: Schuster, Paliwal (1997).

    Args:
      build: a function with an argument `reverse`, such as `lstm` with its width bound; it must not ask
        for the option `carry_out`, as there is no one carry that the two end with.
    """
    return concatenate(forward=build(reverse=False), reverse=build(reverse=True))
