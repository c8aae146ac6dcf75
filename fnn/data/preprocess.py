"""Preprocessing that is fitted on the training part and then applied, unchanged, to everything.

What is fitted is a value: a small named tuple that can be saved with the network and applied again
to the images it will classify one day.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fnn.data.examples import Dataset


class Centre(NamedTuple):
    """Zero-centring: subtract the mean training image."""

    mean: NDArray[np.float32]  # (H, W, C)

    def apply(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        """The difference x - mean, for images of the type and in the units of the training images.

        Args:
            x: (N, H, W, C) or one image (H, W, C).

        Raises:
            ValueError: x has other image sizes or another type than the mean. Bytes in 0 … 255 are
                refused rather than centred by a mean in [0, 1].
        """
        if x.shape[-self.mean.ndim :] != self.mean.shape or x.ndim > self.mean.ndim + 1:
            raise ValueError(f"expected images of shape {self.mean.shape}, got x of {x.shape}")
        if x.dtype != self.mean.dtype:
            raise ValueError(
                f"expected {self.mean.dtype} images in the units of the training images, "
                f"got {x.dtype}"
            )
        return x - np.broadcast_to(self.mean, x.shape)


def mean_image(train_x: NDArray[np.float32]) -> Centre:
    """The centre of the training images: mean = Σ_n x[n] / N, summed in float64.

    Args:
        train_x: (N, H, W, C), the training part only.

    Raises:
        ValueError: there is no image, or the type is not a floating one.
    """
    if train_x.ndim < 2 or train_x.size == 0 or train_x.dtype.kind != "f":
        raise ValueError(
            "expected at least one floating-point image in train_x of shape (N, H, W, C), "
            f"got {train_x.shape} {train_x.dtype}"
        )
    return Centre(train_x.mean(axis=0, dtype=np.float64).astype(train_x.dtype))


def centred(dataset: Dataset) -> tuple[Dataset, Centre]:
    """The data set with both parts centred by the mean of its training part, and that centre."""
    centre = mean_image(dataset.train.x)
    train = dataset.train._replace(x=centre.apply(dataset.train.x))
    test = dataset.test._replace(x=centre.apply(dataset.test.x))
    return dataset._replace(train=train, test=test), centre
