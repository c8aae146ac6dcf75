"""The sizes that a model states: looked at when it is built, and when x comes, before any layer runs.

A layer knows its own sizes alone: a decoder returns as many numbers as it was built for, whatever the
encoder read, and the first rows of a table of positions fit every shorter sequence.
"""

import operator
from collections.abc import Callable, Iterable, Mapping, Set

import numpy as np

from fnn.compose.child import describe
from fnn.compose.wrapper import wrapper
from fnn.layer import Key, Layer, PyTree

Shape = tuple[int, ...]


def check_counts(model: str, **counts: object) -> None:
    """Refuse what is no whole number of at least 1.

    Raises:
      TypeError: a count is no int of Python's or of numpy's.
      ValueError: a count is below 1.
    """
    for name, value in counts.items():
        if integer(model, name, value) < 1:
            raise ValueError(f"{model}: expected {name} of at least 1, got {value}")


def check_widths(model: str, name: str, widths: object) -> tuple[int, ...]:
    """The counts of a sequence; an empty one is a sequence, too, and so is what is read only once.

    A set or a mapping is none: its order is not the caller's.

    Raises:
      TypeError: it is none, or a width is no int.
      ValueError: a width is below 1.
    """
    if not isinstance(widths, Iterable) or isinstance(widths, Mapping | Set):
        raise TypeError(f"{model}: expected {name} to be a sequence of ints, got {widths!r}")
    listed = tuple(integer(model, name, width) for width in widths)
    if any(width < 1 for width in listed):
        raise ValueError(f"{model}: expected {name} of at least 1 each, got {listed}")
    return listed


def check_heads(
    model: str, features: int, heads: int, kv_heads: int | None, rotary_base: float | None
) -> None:
    """Refuse features or heads that the heads cannot share.

    Raises:
      TypeError: a count is no int.
      ValueError: a count is below 1 or does not divide what it must, or with rotary positions a head has
        an odd number of features.
    """
    keys = heads if kv_heads is None else kv_heads
    check_counts(model, features=features, heads=heads, kv_heads=keys)
    if features % heads:
        raise ValueError(
            f"{model}: expected features that are a multiple of the heads, got {features} features and "
            f"{heads} heads"
        )
    if heads % keys:
        raise ValueError(
            f"{model}: expected heads that are a multiple of kv_heads, got {heads} heads and kv_heads "
            f"{keys}"
        )
    if rotary_base is not None and features // heads % 2:
        raise ValueError(
            f"{model}: expected an even number of features a head to turn, got {features // heads}"
        )


def has_features(shape: Shape) -> bool:
    """Whether an x (N, …) has an axis for the examples, and a number for each of them."""
    return len(shape) > 0 and min(shape[1:], default=1) > 0


def of_inputs(model: str, expected: str, fits: Callable[[Shape], bool], net: Layer) -> Layer:
    """The network, and nothing else, for an x whose shape fits: in `init`, `forward` and `predict`.

    Of other parts, as `map_layers` puts in, it may take other sizes: a model that is built again around
    them looks at x no more, and each part looks for itself.

    Args:
      model: named in the error.
      expected: what x must be like, in words.
      fits: whether a shape is like that.
      net: the network, whose parts, parameters, state and cache stay as they are.
    """

    def check(x: PyTree) -> None:
        shape = getattr(x, "shape", None)
        if shape is None:
            raise TypeError(f"{model}: expected one array for x, got {describe(x)}")
        if not fits(shape):
            raise ValueError(f"{model}: expected {expected}, got {shape}")

    def init(key: Key, x: PyTree) -> tuple[PyTree, PyTree]:
        check(x)
        return net.init(key, x)

    def forward(
        params: PyTree, state: PyTree, x: PyTree, key: Key
    ) -> tuple[PyTree, PyTree, PyTree]:
        check(x)
        return net.forward(params, state, x, key)

    def predict(params: PyTree, state: PyTree, x: PyTree) -> PyTree:
        check(x)
        return net.predict(params, state, x)

    return wrapper(lambda again: again, net, net.name, init, forward, net.backward, predict)


def integer(model: str, name: str, value: object) -> int:
    """An int of Python's or of numpy's, as Python's.

    Raises:
      TypeError: it is none.
    """
    if isinstance(value, int | np.integer) and not isinstance(value, bool):
        return operator.index(value)
    raise TypeError(f"{model}: expected {name} to be an int, got {value!r}")
