"""The covariance of the training part, and what is built on its axes: PCA and ZCA whitening.

With λ_i ≥ 0 and the orthonormal e_i the eigenvalues and eigenvectors of the covariance

    S = Σ_n (x_n - mean)(x_n - mean)ᵀ / (N - 1),      x_n the D features of an example in one row,

PCA keeps the coordinates along the first e_i, and whitening scales each by 1 / √(λ_i + ε), after which
the covariance of the training part is the identity (with ε = 0).
"""

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fnn.data.preprocess.fitted import (
    check_input,
    mean_of,
    product,
    rows,
    scatter_of,
    spread,
    training_part,
)


class Pca(NamedTuple):
    """Principal components: z_i = e_i · (x - mean) / scale_i."""

    mean: NDArray[Any]  # (*F)
    components: NDArray[Any]  # (k, D), the orthonormal e_i as rows
    scale: NDArray[Any]  # (k,), 1 or, with whitening, √(λ_i + ε)
    variance: NDArray[Any]  # (k,), λ_i, from the largest on; at least float32
    total: NDArray[Any]  # (), the variance of all features, Σ λ_i over all D
    examples: NDArray[np.int32]  # (), how many the fit saw

    @property
    def share(self) -> NDArray[Any]:
        """(k,): how much of the variance the first component holds, the first two, …."""
        return np.cumsum(np.asarray(self.variance, np.float64)) / np.asarray(self.total, np.float64)

    def apply(self, x: Any) -> Any:
        """The coordinates (N, k) of x (N, *F).

        Raises:
            ValueError: x has other features or another type than the training part.
        """
        check_input(x, self.mean.shape, self.mean.dtype)
        z = product(_rows_of(x - spread(self.mean, x), self.mean), self.components.T)
        return (z / spread(self.scale, z)).reshape(_leading(x, self.mean) + self.scale.shape)

    def invert(self, z: Any) -> Any:
        """The point (N, *F) of the span of the components with these coordinates; x itself for k = D."""
        check_input(z, self.scale.shape, self.scale.dtype, like="transformed")
        leading = tuple(z.shape[:-1])
        x = product((z * spread(self.scale, z)).reshape(-1, z.shape[-1]), self.components)
        x = x.reshape(leading + self.mean.shape)
        return x + spread(self.mean, x)


def pca(
    train_x: NDArray[Any],
    components: int | None = None,
    *,
    share: float | None = None,
    whiten: bool = False,
    epsilon: float = 0.0,
) -> Pca:
    """The principal components of the training part (Pearson, 1901; Hotelling, 1933), in float64.

    Of each e_i, the sign is such that the entry with the largest magnitude is positive. The work is an
    eigendecomposition of (D, D), or of (N, N) where there are fewer examples than features.

    Args:
        train_x: (N, *F), the training part only.
        components: how many to keep, up to min(N - 1, D); None, without a share, for so many.
        share: instead, keep the fewest that hold this share of the variance, in (0, 1].
        whiten: divide each coordinate by √(λ_i + epsilon).
        epsilon: a variance, in the units of x squared, ≥ 0: it keeps noise in weak directions from being
            scaled up to the size of the signal.

    Raises:
        ValueError: fewer than two examples, no floating type, counts or shares out of range; all examples
            are alike; or a component without variance is to be whitened with an epsilon of 0.
    """
    train_x = training_part(train_x)
    _check_epsilon(epsilon)
    examples = rows(train_x, train_x.ndim - 1)
    most = min(len(examples) - 1, examples.shape[1])
    if components is not None and share is not None:
        raise ValueError(f"expected components or share, got {components} and {share}")
    if share is not None and not 0 < share <= 1:
        raise ValueError(f"expected a share of the variance in (0, 1], got {share}")
    if components is not None and not 1 <= components <= most:
        raise ValueError(
            f"expected from 1 to {most} components of {len(examples)} examples with "
            f"{examples.shape[1]} features, got {components}"
        )
    mean, values, vectors = _axes(examples)
    total = values.sum()
    kept = most if components is None else components
    if share is not None:
        # Rounding may leave the last sum a little under 1: then all are needed.
        kept = min(int(np.searchsorted(np.cumsum(values) / total, share)) + 1, most)
    values, vectors = values[:kept], vectors[:kept]
    strongest = np.take_along_axis(vectors, np.abs(vectors).argmax(1)[:, None], axis=1)
    vectors = vectors * np.where(strongest < 0, -1.0, 1.0)
    scale = _scale(values, epsilon, examples.shape[1]) if whiten else np.ones(kept)
    parts = (mean.reshape(train_x.shape[1:]), vectors, scale)
    mean, vectors, scale = (a.astype(train_x.dtype) for a in parts)
    # Variances of bytes are beyond float16, which has room for all that is applied to x.
    wide = np.promote_types(train_x.dtype, np.float32)
    values, total = values.astype(wide), np.asarray(total, wide)
    return Pca(mean, vectors, scale, values, total, np.asarray(len(examples), np.int32))


class Zca(NamedTuple):
    """ZCA whitening: W (x - mean) with the symmetric W = Σ_i e_i e_iᵀ / √(λ_i + ε)."""

    mean: NDArray[Any]  # (*F)
    matrix: NDArray[Any]  # (D, D), W
    inverse: NDArray[Any]  # (D, D), W⁻¹
    examples: NDArray[np.int32]  # (), how many the fit saw

    def apply(self, x: Any) -> Any:
        """The whitened x (N, *F), of the same shape.

        Raises:
            ValueError: x has other features or another type than the training part.
        """
        check_input(x, self.mean.shape, self.mean.dtype)
        flat = _rows_of(x - spread(self.mean, x), self.mean)
        return product(flat, self.matrix).reshape(x.shape)

    def invert(self, z: Any) -> Any:
        """The inputs again: W⁻¹ z + mean."""
        check_input(z, self.mean.shape, self.mean.dtype, like="whitened")
        x = product(_rows_of(z, self.mean), self.inverse).reshape(z.shape)
        return x + spread(self.mean, x)


def zca(train_x: NDArray[Any], *, epsilon: float) -> Zca:
    """The whitening of the training part that changes it least (Bell, Sejnowski, 1997), in float64.

    W = S^(-1/2) for ε = 0, as A. Krizhevsky, "Learning Multiple Layers of Features from Tiny Images"
    (2009, appendix A), whitens CIFAR-10. Of all whitenings it stays closest to x, so that an image still
    looks like one. Two matrices of (D, D): 19 MB each for a CIFAR-10 image in float32.

    Args:
        train_x: (N, *F), the training part only.
        epsilon: ε, a variance in the units of x squared, ≥ 0: it is added to each eigenvalue and keeps
            the noise in the weak directions small. Of use are 0.1 after `global_contrast` with unit
            variance (Coates, Ng, 2012), and 1e-3 to 1e-2 for grey levels in [0, 1].

    Raises:
        ValueError: fewer than two examples, no floating type, or all examples are alike; or epsilon is 0
            and there are directions without variance, such as that of a constant pixel.
    """
    train_x = training_part(train_x)
    _check_epsilon(epsilon)
    examples = rows(train_x, train_x.ndim - 1)
    mean, values, vectors = _axes(examples, every=True)
    scale = _scale(values, epsilon, len(values))
    matrix = (vectors.T / scale) @ vectors
    inverse = (vectors.T * scale) @ vectors
    parts = (mean.reshape(train_x.shape[1:]), matrix, inverse)
    mean, matrix, inverse = (a.astype(train_x.dtype) for a in parts)
    return Zca(mean, matrix, inverse, np.asarray(len(examples), np.int32))


def _axes(
    examples: NDArray[Any], *, every: bool = False
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """(mean (D,), λ from the largest on, the e_i as rows); all D of them, or min(N, D)."""
    count, features = examples.shape
    if count < 2:
        raise ValueError("expected at least two examples for a covariance, got one")
    mean = mean_of(examples)
    if every or count >= features:
        values, vectors = np.linalg.eigh(scatter_of(examples, mean) / (count - 1))
        values, vectors = values[::-1], vectors.T[::-1]
    else:
        centred = examples.astype(np.float64)
        centred -= mean
        _, singular, vectors = np.linalg.svd(centred, full_matrices=False)
        values = singular**2 / (count - 1)
    values = np.maximum(values, 0)
    if not values[0] > 0:
        raise ValueError("expected examples that differ, got examples that are all alike")
    return mean, values, vectors


def _scale(values: NDArray[np.float64], epsilon: float, features: int) -> NDArray[np.float64]:
    """√(λ + ε), if no direction is without variance."""
    # What the decomposition makes of an eigenvalue 0 is rounding of this size, however few are kept.
    flat = values <= values[0] * features * np.finfo(np.float64).eps
    if epsilon == 0 and flat.any():
        raise ValueError(
            f"expected variance in every direction, got {int(flat.sum())} of {len(values)} directions "
            "without any (constant or dependent features, or fewer examples than features); give an "
            "epsilon above 0, or keep fewer components with pca"
        )
    return np.sqrt(values + epsilon)


def _check_epsilon(epsilon: float) -> None:
    if not 0 <= epsilon < math.inf:
        raise ValueError(f"expected a finite epsilon of at least 0, got {epsilon}")


def _leading(x: Any, mean: NDArray[Any]) -> tuple[int, ...]:
    return tuple(x.shape[: len(x.shape) - mean.ndim])


def _rows_of(x: Any, mean: NDArray[Any]) -> Any:
    return x.reshape(-1, math.prod(mean.shape))
