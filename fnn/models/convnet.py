"""A small convolutional network for small images."""

from collections.abc import Sequence

from fnn.compose import chain
from fnn.layer import Layer
from fnn.layers import batch_norm, convolution, dropout, flatten, linear, max_pool, relu
from fnn.models.sizes import check_counts, check_widths, of_inputs


def convnet(
    classes: int,
    *,
    channels: Sequence[int] = (32, 64),
    features: int = 128,
    dropout_rate: float = 0.0,
) -> Layer:
    """Pairs of 3×3 convolutions, each pair followed by a 2×2 pooling, and a dense layer.

    Forward:

        x → block_i (conv_1 → norm_1 → act_1 → conv_2 → norm_2 → act_2 → pool) for each width
          → head (flatten → dense → norm → act → drop) → logits

    Backward: dy through the parts in reverse; see `chain`. Cache: that of the parts.

    Batch norm stands between every convolution or dense layer and its rectifier, so that these have no
    bias: the mean that is subtracted would take it away again. Shapes: x (N, H, W, C) with H and W of
    at least 2 to the number of blocks, y (N, classes), the logits of a softmax. With ten classes and
    28 × 28 × 1 inputs: 468,138 parameters. Source: Simonyan, Zisserman (2015), with the
    batch norm of Ioffe, Szegedy (2015).

    Args:
      classes: the number of logits.
      channels: the width of each block's convolutions.
      features: the width of the dense layer.
      dropout_rate: the fraction of the dense layer's output that is dropped; with 0 there is no dropout
        layer, and the network needs no key.

    Raises:
      TypeError: a width or the number of classes is no int; of a pass: x is no array, or one of integers.
      ValueError: a width or the number of classes is below 1, or the rate is not in [0, 1); of a pass:
        x has not four axes, is too small for the poolings, or has other channels than the parameters.
    """
    check_counts("convnet", classes=classes, features=features)
    channels = check_widths("convnet", "channels", channels)
    blocks = {f"block_{i}": _block(width) for i, width in enumerate(channels, start=1)}
    drop = {"drop": dropout(dropout_rate)} if dropout_rate else {}
    head = chain(
        flatten=flatten(),
        dense=linear(features, bias=False),
        norm=batch_norm(),
        act=relu(),
        **drop,
    )
    least = 2 ** len(blocks)
    return of_inputs(
        "convnet",
        f"x of shape (N, H, W, C) with H and W of at least {least} for {len(blocks)} poolings",
        lambda shape: len(shape) == 4 and min(shape[1:3]) >= least,
        chain(**blocks, head=head, logits=linear(classes)),
    )


def _block(channels: int) -> Layer:
    return chain(
        conv_1=convolution(channels, 3, bias=False),
        norm_1=batch_norm(),
        act_1=relu(),
        conv_2=convolution(channels, 3, bias=False),
        norm_2=batch_norm(),
        act_2=relu(),
        pool=max_pool(2),
    )
