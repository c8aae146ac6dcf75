"""Zero mean and unit variance, feature by feature or channel by channel."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fnn.data.preprocess.fitted import (
    check_input,
    mean_of,
    namespace,
    rows,
    spread,
    training_part,
    variance_of,
)


class Standard(NamedTuple):
    """Standardization: (x - mean) / std, where the std of the training part is not 0."""

    mean: NDArray[Any]  # (*F), of the features, or (C,), of the channels
    std: NDArray[Any]  # the same shape; 0 for what is constant in the training part
    examples: NDArray[np.int32]  # (), how many the fit saw

    @property
    def constant(self) -> NDArray[np.bool_]:
        """Which features the training part never varies: they are centred and not scaled."""
        return np.asarray(self.std == 0)

    def apply(self, x: Any) -> Any:
        """(x - mean) / std, for x (…, *F) of the type and in the units of the training part.

        A constant feature gives x - mean: 0 in the training part, and elsewhere the difference.

        Raises:
            ValueError: x has other features or another type.
        """
        check_input(x, self.mean.shape, self.mean.dtype)
        return (x - spread(self.mean, x)) / spread(self._divisor(x), x)

    def invert(self, x: Any) -> Any:
        """The inputs again: x · std + mean."""
        check_input(x, self.mean.shape, self.mean.dtype, like="standardized")
        return x * spread(self._divisor(x), x) + spread(self.mean, x)

    def _divisor(self, x: Any) -> Any:
        xp = namespace(x)
        return xp.where(self.std == 0, xp.ones_like(self.std), self.std)


def standardize(train_x: NDArray[Any]) -> Standard:
    """The mean and standard deviation of every feature over the training part, in float64.

    std = √(Σ_n (x_n - mean)² / N), in the units of x. A feature that is constant has the std 0, exactly,
    however large it is: see `Standard.constant`.

    Args:
        train_x: (N, *F), the training part only.

    Raises:
        ValueError: there is no example, or the type is not a floating one.
    """
    train_x = training_part(train_x)
    return _standard(train_x, train_x.ndim - 1)


def standardize_channels(train_x: NDArray[Any]) -> Standard:
    """The mean and standard deviation of every channel, over examples and places.

    As `standardize`, with every (n, h, w) as an example of C features: mean and std are of shape (C,) and
    serve images of any size.

    Args:
        train_x: (N, …, C), the training part only.

    Raises:
        ValueError: there is no example, or the type is not a floating one.
    """
    train_x = training_part(train_x)
    return _standard(train_x, 1)


def _standard(train_x: NDArray[Any], axes: int) -> Standard:
    examples, shape = rows(train_x, axes), train_x.shape[train_x.ndim - axes :]
    mean = mean_of(examples)
    std = np.sqrt(variance_of(examples, mean))
    mean, std = (a.reshape(shape).astype(train_x.dtype) for a in (mean, std))
    return Standard(mean, std, np.asarray(len(train_x), np.int32))
