"""Zero-centring, by the mean image or by the mean of each channel."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fnn.data.examples import Dataset
from fnn.data.preprocess.fitted import check_input, mean_of, rows, spread, training_part


class Centre(NamedTuple):
    """Zero-centring: subtract the mean training image."""

    mean: NDArray[np.float32]  # (H, W, C)

    def apply(self, x: Any) -> Any:
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
        return x - spread(self.mean, x)

    def invert(self, x: Any) -> Any:
        """The images again: x + mean."""
        return x + spread(self.mean, x)


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
    return Centre(np.asarray(train_x).mean(axis=0, dtype=np.float64).astype(train_x.dtype))


def centred(dataset: Dataset) -> tuple[Dataset, Centre]:
    """The data set with both parts centred by the mean of its training part, and that centre."""
    centre = mean_image(dataset.train.x)
    train = dataset.train._replace(x=centre.apply(dataset.train.x))
    test = dataset.test._replace(x=centre.apply(dataset.test.x))
    return dataset._replace(train=train, test=test), centre


class ChannelCentre(NamedTuple):
    """Zero-centring of each channel: subtract its mean over all training images and places."""

    mean: NDArray[Any]  # (C,)
    examples: NDArray[np.int32]  # (), how many the fit saw

    def apply(self, x: Any) -> Any:
        """The difference x - mean, for x (…, C) of the type and in the units of the training part.

        Raises:
            ValueError: x has another number of channels or another type.
        """
        check_input(x, self.mean.shape, self.mean.dtype)
        return x - spread(self.mean, x)

    def invert(self, x: Any) -> Any:
        """The inputs again: x + mean."""
        check_input(x, self.mean.shape, self.mean.dtype, like="centred")
        return x + spread(self.mean, x)


def channel_mean(train_x: NDArray[Any]) -> ChannelCentre:
    """The mean of each channel: mean_c = Σ_{n,h,w} x[n, h, w, c] / (N H W), summed in float64.

    What VGG subtracts (Simonyan, Zisserman, 2014): three numbers, which serve images of any size.

    Args:
        train_x: (N, …, C), the training part only.

    Raises:
        ValueError: there is no example, or the type is not a floating one.
    """
    train_x = training_part(train_x)
    mean = mean_of(rows(train_x, 1)).astype(train_x.dtype)
    return ChannelCentre(mean, np.asarray(len(train_x), np.int32))
