"""The multilayer perceptron."""

from collections.abc import Sequence

from fnn.compose import chain
from fnn.layer import Layer
from fnn.layers import dropout, flatten, linear, relu


def mlp(features: Sequence[int], classes: int, *, dropout_rate: float = 0.0) -> Layer:
    """Linear layers with rectifiers between them; any input (N, …) is flattened first.

        x → flatten → (hidden_i → act_i → drop_i) for each width → logits

    Shapes: x (N, …), y (N, classes), the logits of a softmax. With widths (512, 512), ten classes and
    28 × 28 inputs: 669,706 parameters.

    Args:
      features: the widths of the hidden layers; with none, it is a linear classifier.
      classes: the number of logits.
      dropout_rate: the fraction of each hidden layer's output that is dropped; with 0 there are no
        dropout layers, and the network needs no key.

    Raises:
      ValueError: a width or the number of classes is below 1, or the rate is not in [0, 1).
    """
    layers: dict[str, Layer] = {"flatten": flatten()}
    for i, width in enumerate(features, start=1):
        layers[f"hidden_{i}"] = linear(width)
        layers[f"act_{i}"] = relu()
        if dropout_rate:
            layers[f"drop_{i}"] = dropout(dropout_rate)
    return chain(**layers, logits=linear(classes))
