"""Global contrast normalization: every example by its own mean and contrast. Nothing is fitted."""

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fnn.data.preprocess.fitted import namespace


class GlobalContrast(NamedTuple):
    """x → scale · (x - m) / max(floor, √(regularizer + mean (x - m)²)), m the example's own mean."""

    scale: NDArray[np.float32]  # ()
    regularizer: NDArray[np.float32]  # (), a variance
    floor: NDArray[np.float32]  # (), a standard deviation

    def apply(self, x: Any) -> Any:
        """Every example of x (N, …) with the mean 0 and, but for regularizer and floor, the std `scale`.

        Means are over all axes but the first, in float32 or wider.

        Raises:
            ValueError: x has no axis of features, or no floating type.
        """
        xp = namespace(x)
        if len(x.shape) < 2 or not xp.issubdtype(x.dtype, np.floating):
            raise ValueError(
                f"expected floating-point examples of shape (N, …), got {x.shape} {x.dtype}"
            )
        wide = x.astype(np.promote_types(x.dtype, np.float32))
        scale, regularizer, floor = (xp.asarray(a, wide.dtype) for a in self)
        axes = tuple(range(1, len(x.shape)))
        wide = wide - xp.broadcast_to(wide.mean(axis=axes, keepdims=True), wide.shape)
        variance = xp.square(wide).mean(axis=axes, keepdims=True)
        contrast = xp.maximum(xp.sqrt(variance + regularizer), floor) / scale
        return (wide / xp.broadcast_to(contrast, wide.shape)).astype(x.dtype)


def global_contrast(
    *, scale: float = 1.0, regularizer: float = 0.0, floor: float = 1e-8
) -> GlobalContrast:
    """Global contrast normalization (Coates, Ng, Lee, 2011; Goodfellow, Bengio, Courville, 2016, 12.2).

    It needs no fit: each example is treated by itself, so that nothing can leak. It cannot be inverted,
    as an example's mean and contrast are gone.

    Args:
        scale: the standard deviation that an example has afterwards.
        regularizer: a variance in the units of x squared, ≥ 0: keeps an example of hardly any contrast
            from being blown up. Coates, Ng and Lee take 10 for grey levels in 0 … 255, which is 1.5e-4
            for levels in [0, 1].
        floor: a standard deviation in the units of x, > 0: an example with less contrast is divided by
            this, so that a constant one becomes 0.

    Raises:
        ValueError: a number out of its range.
    """
    if not 0 < scale < math.inf or not 0 <= regularizer < math.inf or not 0 < floor < math.inf:
        raise ValueError(
            "expected scale > 0, regularizer ≥ 0 and floor > 0, all finite, got "
            f"{scale}, {regularizer} and {floor}"
        )
    return GlobalContrast(*(np.asarray(a, np.float32) for a in (scale, regularizer, floor)))
