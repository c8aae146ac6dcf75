"""The multilayer perceptron."""

from collections.abc import Sequence

from fnn.compose import chain
from fnn.layer import Layer
from fnn.layers import dropout, flatten, linear, relu
from fnn.models.sizes import check_counts, check_widths, has_features, of_inputs


def mlp(features: Sequence[int], classes: int, *, dropout_rate: float = 0.0) -> Layer:
    """Linear layers with rectifiers between them; any input (N, …) is flattened first.

    Forward:

        x → flatten → (hidden_i → act_i → drop_i) for each width → logits

    Backward: dy through the parts in reverse; see `chain`. Cache: that of the parts. Shapes: x (N,
    …), y (N, classes), the logits of a softmax. With widths (512, 512), ten classes and 28 × 28
    inputs: 669,706 parameters. Source: Rumelhart, Hinton, Williams (1986).

    Args:
      features: the widths of the hidden layers; with none, it is a linear classifier.
      classes: the number of logits.
      dropout_rate: the fraction of each hidden layer's output that is dropped; with 0 there are no
        dropout layers, and the network needs no key.

    Raises:
      TypeError: a width or the number of classes is no int; of a pass: x is no array, or one of integers.
      ValueError: a width or the number of classes is below 1, or the rate is not in [0, 1); of a pass: x
        has no numbers an example, or others than the parameters were made for.
    """
    check_counts("mlp", classes=classes)
    features = check_widths("mlp", "features", features)
    layers: dict[str, Layer] = {"flatten": flatten()}
    for i, width in enumerate(features, start=1):
        layers[f"hidden_{i}"] = linear(width)
        layers[f"act_{i}"] = relu()
        if dropout_rate:
            layers[f"drop_{i}"] = dropout(dropout_rate)
    return of_inputs(
        "mlp",
        "x of shape (N, …) with a number an example at least",
        has_features,
        chain(**layers, logits=linear(classes)),
    )
