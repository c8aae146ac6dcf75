"""A recurrent network that sees the future, too."""

from inspect import signature
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

    Raises:
      TypeError: `build` is no such function, for example a layer that is built already.
      ValueError: the outputs of the two differ in shape besides the last axis, or in dtype.
    """
    _check(build)
    forward, reverse = build(reverse=False), build(reverse=True)
    for layer in (forward, reverse):
        if not isinstance(layer, Layer):
            raise TypeError(f"{_EXPECTED}, got {_named(build)}, which returned {layer!r:.80}")
    return concatenate(forward=forward, reverse=reverse)


_EXPECTED = (
    "bidirectional: expected a function of (reverse=…) that builds a layer, such as "
    "functools.partial(lstm, 64)"
)


def _check(build: object) -> None:
    """Refuse what cannot be called with `reverse`."""
    if not callable(build):
        raise TypeError(f"{_EXPECTED}, got {_named(build)}")
    try:
        taken = signature(build)
    except ValueError:  # of a function that does not say; the call will
        return
    try:
        taken.bind(reverse=False)
    except TypeError as error:
        raise TypeError(
            f"{_EXPECTED}, got {_named(build)}, which does not take `reverse` alone: {error}"
        ) from None


def _named(build: object) -> str:
    if isinstance(build, Layer):
        return f"Layer {build.name}"
    function = getattr(build, "func", build)  # of a partial
    return getattr(function, "__name__", f"{function!r:.80}")
