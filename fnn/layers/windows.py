"""Where windows lie on an image of one, two or three axes: the sizes that convolution and pooling share.

A window of F positions a dilation d apart reaches over e = (F - 1) d + 1 pixels. On an axis of n
pixels with `low` and `high` pixels of padding it is laid at every stride s-th pixel, so that

    output o reads the pixels  o s - low + i d,  i = 0 … F-1,  for o = 0 … (low + n + high - e) // s
"""

import operator
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

Pair = tuple[int, int]
Sizes = tuple[int, ...]  # one for each axis of an image
PaddingSetting = str | int | Sequence[Sequence[int]]  # what a person may write
Padding = str | tuple[Pair, ...]  # "SAME", "VALID" or (low, high) of every axis

MOST_AXES = 3


class Windows(NamedTuple):
    """The windows on one image; every field has an entry for each of its axes, and is hashable."""

    image: Sizes  # pixels, without padding
    window: Sizes  # F
    stride: Sizes
    dilation: Sizes
    padding: tuple[Pair, ...]  # (low, high) of every axis: ((top, bottom), (left, right))
    output: Sizes  # how many windows


class Axis(NamedTuple):
    """The same on one axis."""

    image: int
    window: int
    stride: int
    dilation: int
    padding: Pair
    output: int


def on_axis(windows: Windows, axis: int) -> Axis:
    """On axis 0 (of an image of two: vertically), 1 (horizontally) or 2."""
    image, window, stride, dilation, padding, output = windows
    return Axis(
        image[axis], window[axis], stride[axis], dilation[axis], padding[axis], output[axis]
    )


def windows_on(
    image: Sequence[int],
    window: Sizes,
    stride: Sizes,
    padding: Padding,
    dilation: Sizes,
    layer: str,
) -> Windows:
    """The windows on an image of (height, width), or of another rank; `layer` is named in an error.

    Raises:
      ValueError: the window reaches over more pixels than the padded image has.
    """
    pads = []
    outputs = []
    for axis, size in enumerate(image):
        given = padding if isinstance(padding, str) else padding[axis]
        low, high = axis_padding(size, window[axis], stride[axis], given, dilation[axis])
        pads.append((low, high))
        outputs.append(
            output_size(size, window[axis], stride[axis], (low, high), dilation[axis], layer)
        )
    return Windows(tuple(image), window, stride, dilation, tuple(pads), tuple(outputs))


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


def int_or_sizes(value: Any, what: str, layer: str, least: int = 1) -> int | Sizes:
    """An int for every axis, or a tuple of one for each: of Python's ints, none below `least`.

    Raises:
      ValueError: it is neither, or one of them is too small.
    """
    given = _listed(value)
    ints = tuple(_integer(v) for v in (given if isinstance(given, tuple) else (given,)))
    if not 1 <= len(ints) <= MOST_AXES or not all(v >= least for v in ints):
        raise ValueError(
            f"{layer}: expected {what} of one int, or one for each of at most {MOST_AXES} axes, none "
            f"below {least}, got {value!r}"
        )
    return ints if isinstance(given, tuple) else ints[0]


def int_or_padding(padding: Any, layer: str) -> int | Padding:
    """A known name, an int for every side, or (low, high) for each axis; hashable.

    Raises:
      ValueError: it is no known name, negative, or no sequence of pairs.
    """
    given = _listed(padding)
    if isinstance(given, str) and given in ("SAME", "VALID"):
        return given
    pads: Any = given if isinstance(given, tuple) else ((given, given),)
    sides = tuple(p if isinstance(p, tuple) else (p,) for p in map(_listed, pads))
    ints = tuple(tuple(_integer(v) for v in p) for p in sides)
    lengths = {len(p) for p in ints}
    if lengths != {2} or len(ints) > MOST_AXES or not all(v >= 0 for p in ints for v in p):
        raise ValueError(
            f'{layer}: expected padding "SAME", "VALID", an int or (low, high) for each axis, such as '
            f"((top, bottom), (left, right)), none below 0, got {padding!r}"
        )
    return tuple((low, high) for low, high in ints) if isinstance(given, tuple) else ints[0][0]


class WindowSettings(NamedTuple):
    """What a person asked of windows before there was an image; checked, and hashable."""

    layer: str  # named in errors
    window: int | Sizes
    stride: int | Sizes
    padding: int | Padding
    dilation: int | Sizes
    rank: int | None  # how many axes the image must have; None if every setting is for any


def window_settings(
    layer: str, window: Any, stride: Any, padding: Any, dilation: Any
) -> WindowSettings:
    """Check settings that are ints for all axes, or sequences with an entry for each.

    Raises:
      ValueError: one is out of range, or two are for images of different rank.
    """
    sizes = int_or_sizes(window, "a window", layer)
    strides = int_or_sizes(stride, "a stride", layer)
    pads = int_or_padding(padding, layer)
    dilations = int_or_sizes(dilation, "a dilation", layer)
    given = {"a window": sizes, "a stride": strides, "padding": pads, "a dilation": dilations}
    ranks = {what: len(v) for what, v in given.items() if isinstance(v, tuple)}
    if len(set(ranks.values())) > 1:
        of_each = ", ".join(f"{what} for {rank}" for what, rank in ranks.items())
        raise ValueError(
            f"{layer}: expected settings for one number of axes, got {of_each}; an int is for every axis"
        )
    rank = next(iter(ranks.values()), None)
    return WindowSettings(layer, sizes, strides, pads, dilations, rank)


def windows_of(settings: WindowSettings, image: Sequence[int]) -> Windows:
    """The windows on an image of the settings' rank.

    Raises:
      ValueError: the window reaches over more pixels than the padded image has.
    """
    layer, window, stride, padding, dilation, _ = settings
    rank = len(image)
    pads = ((padding, padding),) * rank if isinstance(padding, int) else padding
    sizes = (on_axes(window, rank), on_axes(stride, rank), pads, on_axes(dilation, rank))
    return windows_on(image, *sizes, layer)


def on_axes(value: int | Sizes, rank: int) -> Sizes:
    """An int as one for each axis."""
    return (value,) * rank if isinstance(value, int) else value


def check_images(x: Any, settings: WindowSettings, channels: int | None, rank: int | None) -> None:
    """Refuse an x that is no batch of images of `rank` (None: any) and `channels` (None: some).

    Raises:
      ValueError: naming the shape that was expected.
    """
    rank = settings.rank if rank is None else rank
    axes = {None: "*spatial", 1: "W", 2: "H, W", 3: "D, H, W"}[rank]
    fits = 3 <= x.ndim <= MOST_AXES + 2 if rank is None else x.ndim == rank + 2
    if not fits or channels not in (None, x.shape[-1]) or x.shape[-1] < 1:
        among = f" with one to {MOST_AXES} spatial axes" if rank is None else ""
        expected = f"(N, {axes}, {'C' if channels is None else channels})"
        raise ValueError(f"{settings.layer}: expected x of shape {expected}{among}, got {x.shape}")


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
