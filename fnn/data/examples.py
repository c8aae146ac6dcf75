"""Labelled examples as two arrays, and the check that every source passes them through.

Data stays in NumPy on the host: what is moved to a device, and when, is the training loop's choice.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Examples(NamedTuple):
    """N inputs and their labels."""

    x: NDArray[np.float32]  # (N, H, W, C), images in [0, 1]
    y: NDArray[np.int32]  # (N,), each in 0 … len(classes) - 1


class Dataset(NamedTuple):
    """A named classification task with its fixed split."""

    name: str
    train: Examples
    test: Examples
    classes: tuple[str, ...]  # classes[y[n]] is what x[n] shows


def validate(examples: Examples, classes: Sequence[str], name: str = "examples") -> None:
    """Refuse data that could only train a network on nonsense.

    Args:
        examples: x (N, …) of real numbers, y (N,) of integers.
        classes: the names of the classes; labels must lie in 0 … len(classes) - 1.
        name: what the message calls the data.

    Raises:
        ValueError: x or y is empty or has the wrong rank or type, their lengths differ, x holds a
            NaN or an infinity, or y a number that is no class. The message names the first
            offending index and value.
    """
    x, y = np.asarray(examples.x), np.asarray(examples.y)
    if x.ndim == 0 or x.size == 0:
        raise ValueError(f"{name}: expected at least one example, got x of shape {x.shape}")
    if x.dtype.kind not in "biuf":
        raise ValueError(f"{name}: expected x of real numbers, got dtype {x.dtype}")
    if y.ndim != 1:
        raise ValueError(f"{name}: expected labels y of shape ({len(x)},), got shape {y.shape}")
    if len(x) != len(y):
        raise ValueError(
            f"{name}: expected one label for each example, "
            f"got {len(x)} examples and {len(y)} labels"
        )
    if y.dtype.kind not in "iu":
        numbers = (
            "y.astype(np.int32)"
            if y.dtype.kind in "bf"
            else "classes, y = np.unique(y, return_inverse=True)"
        )
        raise ValueError(
            f"{name}: expected integer labels, got dtype {y.dtype} (y[0] = {y[0]}); "
            f"convert them with {numbers}"
        )

    finite = np.isfinite(x)
    if not finite.all():
        index = tuple(int(i) for i in np.unravel_index(np.argmin(finite), x.shape))
        raise ValueError(
            f"{name}: expected finite x, got x[{', '.join(map(str, index))}] = {x[index]} "
            f"(and {x.size - np.count_nonzero(finite) - 1} more values that are not finite)"
        )

    known = (y >= 0) & (y < len(classes))
    if not known.all():
        first = int(np.argmin(known))
        raise ValueError(
            f"{name}: expected labels in 0 … {len(classes) - 1}, got y[{first}] = {y[first]} "
            f"(and {len(y) - np.count_nonzero(known) - 1} more labels out of range)"
        )
