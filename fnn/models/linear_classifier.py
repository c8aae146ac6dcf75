"""The linear classifier: one linear layer."""

from fnn.compose import chain
from fnn.initializers import Initializer, zeros
from fnn.layer import Layer
from fnn.layers import flatten, linear
from fnn.models.sizes import check_counts, has_features, of_inputs


def linear_classifier(
    classes: int, *, bias: bool = True, kernel_init: Initializer = zeros
) -> Layer:
    """A score for each class, linear in the pixels.

    Forward: x → flatten → logits. Backward: dy through both in reverse; see `chain` and `linear`. Cache:
    x, as rows.

    With `losses.softmax_cross_entropy` it is multinomial logistic regression, with a multiclass SVM loss
    a linear support vector machine. Both are convex, so that there is no symmetry to break, and the first
    weights are zeros: the first loss is exactly log(classes), or classes - 1. Shapes: x (N, …), y
    (N, classes). With ten classes and 28 × 28 inputs: 7,850 parameters. Source: Cox (1958),
    Crammer, Singer (2001).

    Args:
      classes: the number of logits.
      bias: whether each class has one.
      kernel_init: draws the first weights.

    Raises:
      TypeError: the number of classes is no int; of a pass: x is no array, or one of integers.
      ValueError: the number of classes is below 1; of a pass: x has no numbers an example, or others than
        the parameters were made for.
    """
    check_counts("linear_classifier", classes=classes)
    return of_inputs(
        "linear_classifier",
        "x of shape (N, …) with a number an example at least",
        has_features,
        chain(flatten=flatten(), logits=linear(classes, bias=bias, kernel_init=kernel_init)),
    )
