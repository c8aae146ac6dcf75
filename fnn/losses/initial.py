"""What a loss has to be before training: the cheapest test of a whole set-up."""

import jax
import numpy as np

from fnn.losses.loss import Loss


def expected_initial_loss(loss: Loss, classes: int) -> float:
    """The mean loss of a network that knows nothing yet, each class being as likely as the others.

    Such a network says the same of every class: log C for a cross-entropy (a first loss of 6.9 where
    log 10 = 2.3 is expected means logits that are too large), C - 1 for ``hinge()``, C · log 2 for
    `binary_logistic` with C labels an example. It is computed by the loss itself, so that smoothing,
    class weights and margins count; a label that is ignored does not.

    Args:
      loss: a loss of classes.
      classes: C, how many there are; for the binary losses the number of labels of an example.

    Raises:
      ValueError: there is no class, or all are ignored, or the loss is not one of classes: what a
        regression or a distance begins with depends on the data.
    """
    if classes < 1:
        raise ValueError(f"expected_initial_loss: expected one class at least, got {classes}")
    if loss.chance is None:
        raise ValueError(
            f"expected_initial_loss: expected a loss of classes, got {loss.name}, whose value before "
            "training depends on the data; evaluate it at the prediction that you begin with"
        )
    with jax.enable_x64(True):
        losses, _ = loss.forward(*loss.chance(classes))
        if not losses.size:
            raise ValueError(
                f"expected_initial_loss: expected a class that counts, got {classes} for {loss.name}, "
                "which ignores it"
            )
        return float(np.mean(np.asarray(losses)))
