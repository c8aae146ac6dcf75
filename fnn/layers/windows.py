"""Where windows lie on an image: the sizes that convolution and pooling share.

A window of F positions a dilation d apart reaches over e = (F - 1) d + 1 pixels. On an axis of n
pixels with `low` and `high` pixels of padding it is laid at every stride s-th pixel, so that

    output o reads the pixels  o s - low + i d,  i = 0 … F-1,  for o = 0 … (low + n + high - e) // s
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

Pair = tuple[int, int]
Padding = str | int | Sequence[Sequence[int]]


class Windows(NamedTuple):
    """The windows on one image; every field is (vertical, horizontal), and hashable."""

    image: Pair  # pixels, without padding
    window: Pair  # F
    stride: Pair
    dilation: Pair
    padding: tuple[Pair, Pair]  # ((top, bottom), (left, right))
    output: Pair  # how many windows


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
        given = padding if isinstance(padding, str | int) else (padding[axis][0], padding[axis][1])
        low, high = axis_padding(size, window[axis], stride[axis], given, dilation[axis])
        pads.append((low, high))
        outputs.append(
            output_size(size, window[axis], stride[axis], (low, high), dilation[axis], layer)
        )
    return Windows(
        (height, width), window, stride, dilation, (pads[0], pads[1]), (outputs[0], outputs[1])
    )


def axis_padding(
    size: int, window: int, stride: int, padding: str | int | Pair, dilation: int
) -> Pair:
    """(low, high) of one axis. SAME makes ceil(size / stride) windows, an odd pixel of it high."""
    if padding == "VALID":
        return 0, 0
    if padding == "SAME":
        outputs = -(-size // stride)
        total = max((outputs - 1) * stride + (window - 1) * dilation + 1 - size, 0)
        return total // 2, total - total // 2
    return (padding, padding) if isinstance(padding, int) else (int(padding[0]), int(padding[1]))


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
    """An int or two as a pair of positive ints.

    Raises:
      ValueError: it is neither, or one of them is below 1.
    """
    if isinstance(value, int):
        both: tuple[Any, ...] = (value, value)
    else:
        both = tuple(value) if isinstance(value, Sequence) else ()
    if len(both) != 2 or not all(isinstance(v, int) and v >= 1 for v in both):
        raise ValueError(
            f"{layer}: expected {what} of one or two ints, each at least 1, got {value!r}"
        )
    return both[0], both[1]


def checked_padding(padding: Any, layer: str) -> Padding:
    """The padding, if it is one; hashable.

    Raises:
      ValueError: it is no known name, negative, or no pair of pairs.
    """
    if padding in ("SAME", "VALID"):
        return padding
    if isinstance(padding, int) and not isinstance(padding, bool):
        pads: Any = ((padding, padding), (padding, padding))
    elif isinstance(padding, Sequence) and not isinstance(padding, str):
        pads = tuple(tuple(p) if isinstance(p, Sequence) else (p,) for p in padding)
    else:
        pads = ()
    if [len(p) for p in pads] != [2, 2] or not all(
        isinstance(v, int) and v >= 0 for p in pads for v in p
    ):
        raise ValueError(
            f'{layer}: expected padding "SAME", "VALID", an int or ((top, bottom), (left, right)), '
            f"none below 0, got {padding!r}"
        )
    return pads
