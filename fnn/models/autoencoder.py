"""The autoencoder: a network that has to say its input again through a narrow code."""

import math
from collections.abc import Sequence
from typing import Literal

from fnn.compose import chain
from fnn.layer import Layer
from fnn.layers import flatten, linear, relu, sigmoid
from fnn.models.sizes import check_counts, check_widths, of_inputs

Output = Literal["sigmoid", "identity"]


def autoencoder(
    inputs: int,
    code: int,
    *,
    features: Sequence[int] = (128,),
    output: Output = "sigmoid",
) -> Layer:
    """Dense layers down to a code, and the same widths back up to the input.

    Forward:

        x → encoder (flatten → (hidden_i → act_i) for each width → code)
          → decoder ((hidden_i → act_i) for each width, backwards → y → act)

    Backward: dy through the parts in reverse; see `chain`. Cache: that of the parts. The code is
    linear, so that it may take any value; train with `squared_error` of y and the flattened x.
    Without hidden layers, with "identity" and squared errors, it finds the plane of the first
    principal components (Baldi, Hornik, 1989). Shapes: x (N, …) with `inputs` numbers an example, y
    (N, inputs). ``net.parts["encoder"]`` is a network of its own, with ``params["encoder"]``. With
    784 inputs, a code of 32 and the defaults: 209,968 parameters. Source: Hinton, Salakhutdinov
    (2006).

    Args:
      inputs: how many numbers an example has.
      code: how many numbers it is squeezed into.
      features: the widths of the encoder's hidden layers; the decoder has them in reverse.
      output: "sigmoid" for inputs in [0, 1], "identity" for any.

    Raises:
      TypeError: a width that is no int; of a pass: x is no array, or one of integers.
      ValueError: a width below 1, or an output of another name; of a pass: x has another number of
        numbers an example than `inputs`.
    """
    check_counts("autoencoder", inputs=inputs, code=code)
    features = check_widths("autoencoder", "features", features)
    if output not in ("sigmoid", "identity"):
        raise ValueError(f"autoencoder: expected output 'sigmoid' or 'identity', got {output!r}")
    ends = {"act": sigmoid()} if output == "sigmoid" else {}
    net = chain(
        encoder=chain(flatten=flatten(), **_hidden(features), code=linear(code)),
        decoder=chain(**_hidden(features[::-1]), y=linear(inputs), **ends),
    )
    return of_inputs(
        "autoencoder",
        f"x of shape (N, …) with {inputs} numbers an example",
        lambda shape: len(shape) > 0 and math.prod(shape[1:]) == inputs,
        net,
    )


def _hidden(features: Sequence[int]) -> dict[str, Layer]:
    layers: dict[str, Layer] = {}
    for i, width in enumerate(features, start=1):
        layers[f"hidden_{i}"] = linear(width)
        layers[f"act_{i}"] = relu()
    return layers
