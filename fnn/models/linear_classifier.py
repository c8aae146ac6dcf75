"""The linear classifier: one linear layer."""

from fnn.compose import chain
from fnn.initializers import Initializer, zeros
from fnn.layer import Layer
from fnn.layers import flatten, linear


def linear_classifier(
    classes: int, *, bias: bool = True, kernel_init: Initializer = zeros
) -> Layer:
    """A score for each class, linear in the pixels: x → flatten → logits.

    With `losses.softmax_cross_entropy` it is multinomial logistic regression, with a multiclass SVM loss
    a linear support vector machine. Both are convex, so that there is no symmetry to break, and the first
    weights are zeros: the first loss is exactly log(classes), or classes - 1. Shapes: x (N, …), y
    (N, classes). With ten classes and 28 × 28 inputs: 7,850 parameters.

    Args:
      classes: the number of logits.
      bias: whether each class has one.
      kernel_init: draws the first weights.

    Raises:
      ValueError: the number of classes is below 1.
    """
    return chain(flatten=flatten(), logits=linear(classes, bias=bias, kernel_init=kernel_init))
