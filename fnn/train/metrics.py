"""Metrics: functions of (prediction, target) that give a number an example."""

import jax.numpy as jnp
import numpy as np

from fnn.dtypes import label_dtype
from fnn.layer import Array


def accuracy(prediction: Array, target: Array) -> Array:
    """1 where the largest of the scores (…, C) is the target's, else 0; float32 (…).

    The target is integer labels (…) or, over classes, probabilities (…, C), whose largest counts. A
    prediction that holds a NaN is wrong, whatever its argmax.
    """
    prediction, target = jnp.asarray(prediction), jnp.asarray(target)
    labels = target if jnp.issubdtype(target.dtype, jnp.integer) else target.argmax(axis=-1)
    dtype = label_dtype(labels.dtype)  # an argmax of 300 classes does not fit into uint8
    right = prediction.argmax(axis=-1).astype(dtype) == labels.astype(dtype)
    return (right & ~jnp.isnan(prediction).any(axis=-1)).astype(jnp.float32)


def confusion_matrix(predicted: np.ndarray, target: np.ndarray, classes: int) -> np.ndarray:
    """Counts (classes, classes): row = true class, column = predicted class.

    Raises:
      ValueError: the two disagree in length, or hold a class out of range.
    """
    predicted, target = np.asarray(predicted), np.asarray(target)
    if predicted.shape != target.shape or predicted.ndim != 1:
        raise ValueError(
            f"expected predicted and target classes of one length, got {predicted.shape} and "
            f"{target.shape}"
        )
    for name, values in (("predicted", predicted), ("target", target)):
        if values.size and not (values.min() >= 0 and values.max() < classes):
            raise ValueError(
                f"expected {name} classes in [0, {classes}), got {values.min()} to {values.max()}"
            )
    pairs = target.astype(np.int64) * classes + predicted.astype(np.int64)
    counts = np.bincount(pairs, minlength=classes**2)
    return counts.reshape(classes, classes)
