"""A small convolutional network for small images."""

from collections.abc import Sequence

from fnn.compose import chain
from fnn.layer import Layer
from fnn.layers import batch_norm, convolution, dropout, flatten, linear, max_pool, relu


def convnet(
    classes: int,
    *,
    channels: Sequence[int] = (32, 64),
    features: int = 128,
    dropout_rate: float = 0.0,
) -> Layer:
    """Pairs of 3×3 convolutions, each pair followed by a 2×2 pooling, and a dense layer.

        x → block_i (conv_1 → norm_1 → act_1 → conv_2 → norm_2 → act_2 → pool) for each width
          → head (flatten → dense → norm → act → drop) → logits

    Batch norm stands between every convolution or dense layer and its rectifier, so that these have no
    bias: the mean that is subtracted would take it away again. Shapes: x (N, H, W, C) with H and W of
    at least 2 to the number of blocks, y (N, classes), the logits of a softmax. With ten classes and
    28 × 28 × 1 inputs: 468,138 parameters. The form is that of Simonyan, Zisserman (2015), with the
    batch norm of Ioffe, Szegedy (2015).

    Args:
      classes: the number of logits.
      channels: the width of each block's convolutions.
      features: the width of the dense layer.
      dropout_rate: the fraction of the dense layer's output that is dropped; with 0 there is no dropout
        layer, and the network needs no key.
    """
    blocks = {f"block_{i}": _block(width) for i, width in enumerate(channels, start=1)}
    drop = {"drop": dropout(dropout_rate)} if dropout_rate else {}
    head = chain(
        flatten=flatten(),
        dense=linear(features, bias=False),
        norm=batch_norm(),
        act=relu(),
        **drop,
    )
    return chain(**blocks, head=head, logits=linear(classes))


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
