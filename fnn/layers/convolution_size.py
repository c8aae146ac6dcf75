"""How many outputs a convolution has: the arithmetic to do before a network is written down."""

from collections.abc import Sequence

import numpy as np

from fnn.layers.windows import axis_padding, int_or_padding, output_size, pair


def conv_output_size(
    size: int,
    window: int,
    stride: int = 1,
    padding: str | int | Sequence[int] = 0,
    dilation: int = 1,
    *,
    exact: bool = False,
) -> int:
    """How many places a window has on one axis: (N − F) / S + 1.

    N is the size with its padding, F the pixels that a window reaches over, which with a dilation d are
    ``(window - 1) · d + 1``, and S the stride. Where the stride does not divide N − F, the layers round
    down, and so does this: the pixels after the last whole window are not read. That loses nothing but
    those pixels, so it is an error only if `exact` asks for it.

    Args:
      size: pixels on the axis.
      window: weights on the axis.
      stride: pixels from one place to the next.
      padding: "SAME", "VALID", the zeros on either side, or (low, high).
      dilation: pixels from one weight to the next.
      exact: whether a stride that does not divide N − F is refused.

    Raises:
      ValueError: a setting is out of range, the window does not fit, or, with `exact`, the last window
        does not end with the last pixel.
    """
    name = "conv_output_size"
    window, stride = pair((window, stride), "a window and a stride", name)
    size, dilation = pair((size, dilation), "a size and a dilation", name)
    one = isinstance(padding, str) or np.ndim(padding) == 0
    checked = int_or_padding(padding if one else (padding,), name)
    if isinstance(checked, int):
        checked = ((checked, checked),)
    pads = axis_padding(
        size, window, stride, checked if isinstance(checked, str) else checked[0], dilation
    )
    outputs = output_size(size, window, stride, pads, dilation, name)
    reach = (window - 1) * dilation + 1
    unread = sum(pads) + size - reach - (outputs - 1) * stride
    if exact and unread:
        padded = size + sum(pads)
        raise ValueError(
            f"{name}: expected a stride that divides N - F, got N = {padded} pixels, a window over F = "
            f"{reach} and a stride of {stride}: ({padded} - {reach}) / {stride} + 1 = "
            f"{(padded - reach) / stride + 1:.2f}, and {unread} pixels would not be read; take another "
            f"stride, or {stride - unread} more pixels of padding"
        )
    return outputs
