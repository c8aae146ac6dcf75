"""Metrics: functions of (prediction, target) that give a number an example."""

import jax.numpy as jnp
import numpy as np

from fnn.layer import Array
from fnn.train.metrics.classes import labels_for


def accuracy(prediction: Array, target: Array) -> Array:
    """1 where the largest of the scores (…, C) is the target's, else 0; float32 (…).

    The target is integer labels (…) or, over classes, probabilities (…, C), whose largest counts. A
    prediction that holds a NaN is wrong, whatever its argmax.

    Raises:
      ValueError: the target's shape does not fit the scores', or there is one class alone, which is
        always right: of a single logit, ``lambda logit, target: (logit > 0) == target``.
    """
    prediction = jnp.asarray(prediction)
    labels = labels_for(target, prediction, "accuracy")
    if prediction.shape[-1] < 2:
        raise ValueError(
            "accuracy: expected scores of at least two classes, of which the largest decides, got shape "
            f"{prediction.shape}; of a single logit, take lambda logit, target: (logit > 0) == target"
        )
    right = prediction.argmax(axis=-1).astype(labels.dtype) == labels
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
