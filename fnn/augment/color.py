"""Colours that change: brightness, contrast, saturation and hue, in this order."""

import jax.numpy as jnp

from fnn.augment.augmentation import per_example, uniforms
from fnn.augment.checks import check_floating, checked_number
from fnn.batch import Augmentation
from fnn.dtypes import accumulation_dtype
from fnn.layer import Array

# Luma of red, green and blue, ITU-R BT.601.
_LUMA = (0.299, 0.587, 0.114)


def color_jitter(
    brightness: float = 0.0,
    contrast: float = 0.0,
    saturation: float = 0.0,
    hue: float = 0.0,
    *,
    limits: tuple[float, float] | None = (0.0, 1.0),
) -> Augmentation:
    """Brightness, contrast, saturation and hue of each image change by amounts of its own.

    One after the other, with b uniform in [max(0, 1 - brightness), 1 + brightness], c and s in the same
    way, h in [-hue, hue], g = 0.299 R + 0.587 G + 0.114 B of each pixel and m its mean over the image:

        x ← b x      x ← m + c (x - m)      x ← g + s (x - g)      x ← x, its hue turned by h

    After each, x is clipped to `limits`. The hue is that of HSV, and a whole turn is 1: with V the
    largest of the channels, K = V - the smallest and H in [0, 6) the hue, a channel becomes
    ``V - K max(0, min(k, 4 - k, 1))``, k = n + H + 6 h modulo 6 and n = 5, 3, 1 for R, G, B. What is 0 is
    left out, so that x then keeps its bits. Images of other than three channels have neither saturation
    nor hue, and g is their mean over the channels. Floating images. Source: Howard (2013); Smith (1978)
    for HSV; the formulas are those of the usual image libraries, some of which shuffle the order.

    Args:
      brightness: at least 0.
      contrast: at least 0.
      saturation: at least 0.
      hue: turns, from 0 to 0.5.
      limits: the smallest and the largest number of an image, or None not to clip, for images that were
        centred or scaled.

    Raises:
      TypeError: x is of integers.
      ValueError: an amount that is out of range, or saturation or hue of images without three channels.
    """
    name = "color_jitter"
    strengths = {"brightness": brightness, "contrast": contrast, "saturation": saturation}
    for what, strength in strengths.items():
        checked_number(name, what, strength, 0.0, 1e6)
    checked_number(name, "hue", hue, 0.0, 0.5)
    if limits is not None and not limits[0] < limits[1]:
        raise ValueError(f"{name}: expected limits, the lower one first, or None, got {limits}")

    def clipped(x: Array) -> Array:
        return x if limits is None else jnp.clip(x, *limits)

    def jitter(key: Array, image: Array) -> Array:
        check_floating(name, image)
        if (saturation or hue) and image.shape[-1] != 3:
            raise ValueError(
                f"{name}: expected images of three channels (R, G, B) to change saturation and hue, got "
                f"{image.shape[-1]}; set both to 0"
            )
        dtype = accumulation_dtype(image.dtype)
        unit = uniforms(key, 4).astype(dtype)
        x = image.astype(dtype)
        if brightness:
            x = clipped(_factor(unit[0], brightness) * x)
        if contrast:
            x = clipped(_moved_from(grey(x).mean(), x, _factor(unit[1], contrast)))
        if saturation:
            x = clipped(_moved_from(grey(x), x, _factor(unit[2], saturation)))
        if hue:
            x = clipped(hue_turned(x, hue * (2 * unit[3] - 1)))
        return x.astype(image.dtype)

    return per_example(name, jitter)


def grey(x: Array) -> Array:
    """(H, W, 1): the luma of three channels, the mean of any other number."""
    if x.shape[-1] != 3:
        return x.mean(axis=-1, keepdims=True)
    red, green, blue = (x[..., c : c + 1] for c in range(3))
    return _LUMA[0] * red + _LUMA[1] * green + _LUMA[2] * blue


def hue_turned(x: Array, turn: Array) -> Array:
    """Three channels (…, 3), any real numbers, with their hue turned by so much of a whole turn."""
    red, green, blue = (x[..., c] for c in range(3))
    value = x.max(axis=-1)
    chroma = value - x.min(axis=-1)
    safe = jnp.where(chroma > 0, chroma, 1)  # grey has no hue: any will do
    # Compared with each other and not with the value, which XLA may have rounded otherwise: the hue is
    # continuous where two channels are equal, so that it does not matter which one of them leads there.
    hue = jnp.where(
        (red >= green) & (red >= blue),
        (green - blue) / safe,
        jnp.where(green >= blue, 2 + (blue - red) / safe, 4 + (red - green) / safe),
    )
    channels = []
    for n in (5, 3, 1):
        k = jnp.mod(n + hue + 6 * turn, 6)
        channels.append(value - chroma * jnp.clip(jnp.minimum(k, 4 - k), 0, 1))
    return jnp.stack(channels, axis=-1)


def _factor(unit: Array, strength: float) -> Array:
    """Uniform in [max(0, 1 - strength), 1 + strength)."""
    low = max(0.0, 1 - strength)
    return low + unit * (1 + strength - low)


def _moved_from(centre: Array, x: Array, factor: Array) -> Array:
    """centre + factor · (x - centre), which for a factor of 1 is x to the last bit."""
    return x + (factor - 1) * (x - centre)
