"""Where windows lie on an image: the sizes that convolution and pooling share.

A window of F positions a dilation d apart reaches over e = (F - 1) d + 1 pixels. On an axis of n
pixels with `low` and `high` pixels of padding it is laid at every stride s-th pixel, so that

    output o reads the pixels  o s - low + i d,  i = 0 … F-1,  for o = 0 … (low + n + high - e) // s
"""

import operator
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

Pair = tuple[int, int]
PaddingSetting = str | int | Sequence[Sequence[int]]  # what a person may write
Padding = str | tuple[Pair, Pair]  # "SAME", "VALID" or ((top, bottom), (left, right))


class Windows(NamedTuple):
    """The windows on one image; every field is (vertical, horizontal), and hashable."""

    image: Pair  # pixels, without padding
    window: Pair  # F
    stride: Pair
    dilation: Pair
    padding: tuple[Pair, Pair]  # ((top, bottom), (left, right))
    output: Pair  # how many windows


class Axis(NamedTuple):
    """The same on one axis."""

    image: int
    window: int
    stride: int
    dilation: int
    padding: Pair
    output: int


def on_axis(windows: Windows, axis: int) -> Axis:
    """Vertically (0) or horizontally (1)."""
    image, window, stride, dilation, padding, output = windows
    return Axis(
        image[axis], window[axis], stride[axis], dilation[axis], padding[axis], output[axis]
    )


def windows_on(
    image: Sequence[int], window: Pair, stride: Pair, padding: Padding, dilation: Pair, layer: str
) -> Windows:
    """The windows on an image of (height, width); `layer` is named in what is raised.

    Raises:
      ValueError: the window reaches over more pixels than the padded image has.
    """
    height, width = image
    pads = []
    outputs = []
    for axis, size in enumerate((height, width)):
        given = padding if isinstance(padding, str) else padding[axis]
        low, high = axis_padding(size, window[axis], stride[axis], given, dilation[axis])
        pads.append((low, high))
        outputs.append(
            output_size(size, window[axis], stride[axis], (low, high), dilation[axis], layer)
        )
    return Windows(
        (height, width), window, stride, dilation, (pads[0], pads[1]), (outputs[0], outputs[1])
    )


def axis_padding(size: int, window: int, stride: int, padding: str | Pair, dilation: int) -> Pair:
    """(low, high) of one axis. SAME makes ceil(size / stride) windows, an odd pixel of it high."""
    if not isinstance(padding, str):
        return padding
    if padding == "VALID":
        return 0, 0
    outputs = -(-size // stride)
    total = max((outputs - 1) * stride + (window - 1) * dilation + 1 - size, 0)
    return total // 2, total - total // 2


def output_size(size: int, window: int, stride: int, pads: Pair, dilation: int, layer: str) -> int:
    """How many windows fit on one axis; pixels that the last stride does not reach are unused.

    Raises:
      ValueError: not even one fits.
    """
    low, high = pads
    reach = (window - 1) * dilation + 1
    if reach > low + size + high:
        raise ValueError(
            f"{layer}: expected an axis of at least {reach} pixels for a window of {window} with "
            f"dilation {dilation}, got {size} and padding {(low, high)}; take a smaller window, "
            "more padding or a larger image"
        )
    return (low + size + high - reach) // stride + 1


def pair(value: Any, what: str, layer: str) -> Pair:
    """An int or two, of Python's or of numpy's, as a pair of positive ints.

    Raises:
      ValueError: it is neither, or one of them is below 1.
    """
    given = _listed(value)
    both = given if isinstance(given, tuple) else (given, given)
    ints = tuple(_integer(v) for v in both)
    if len(ints) != 2 or not all(v >= 1 for v in ints):
        raise ValueError(
            f"{layer}: expected {what} of one or two ints, each at least 1, got {value!r}"
        )
    return ints[0], ints[1]


def checked_padding(padding: Any, layer: str) -> Padding:
    """A known name, or ((top, bottom), (left, right)) of ints; hashable.

    Raises:
      ValueError: it is no known name, negative, or no pair of pairs.
    """
    given = _listed(padding)
    if isinstance(given, str) and given in ("SAME", "VALID"):
        return given
    pads: Any = given if isinstance(given, tuple) else ((given, given), (given, given))
    pads = tuple(_listed(p) for p in pads)
    sides = tuple(p if isinstance(p, tuple) else (p,) for p in pads)
    ints = tuple(tuple(_integer(v) for v in p) for p in sides)
    if [len(p) for p in ints] != [2, 2] or not all(v >= 0 for p in ints for v in p):
        raise ValueError(
            f'{layer}: expected padding "SAME", "VALID", an int or ((top, bottom), (left, right)), '
            f"none below 0, got {padding!r}"
        )
    return (ints[0][0], ints[0][1]), (ints[1][0], ints[1][1])


def _listed(value: Any) -> Any:
    """A sequence or an array of one axis or more as a tuple; anything else as it is."""
    listed = value.tolist() if isinstance(value, np.ndarray) else value
    return tuple(listed) if isinstance(listed, Sequence) and not isinstance(listed, str) else listed


def _integer(value: Any) -> int:
    """Python's int for an integer of any library; -1, which no setting may be, for anything else.

    A truth value is no number here.
    """
    try:
        return -1 if isinstance(value, bool | np.bool_) else operator.index(value)
    except TypeError:
        return -1
