"""The residual network for small images."""

from fnn.compose import chain, residual
from fnn.initializers import normal
from fnn.layer import Layer
from fnn.layers import batch_norm, convolution, global_average_pool, linear, relu
from fnn.models.sizes import check_counts, integer, of_inputs


def resnet(
    classes: int = 10, *, depth: int = 20, width: int = 16, logit_std: float = 0.01
) -> Layer:
    """A stem, three stages of n residual blocks each, and a linear layer on the mean of the pixels.

    Forward:

        x → stem (conv → norm → act) → stage_1 → stage_2 → stage_3 → pool → logits

        block: relu(shortcut(x) + (conv_1 → norm_1 → act → conv_2 → norm_2)(x))

    Backward: dy through the parts in reverse, and the cotangents of body and shortcut add up; see `chain`
    and `residual`. Cache: that of the parts.

    All convolutions are 3×3 without a bias, which the norm would take away again. The second and the
    third stage begin with a stride of 2 and twice the channels; there the shortcut is a 1×1 convolution
    with that stride and a norm (the paper's form B), elsewhere it is the identity. `depth` counts the
    layers with weights on the longest path, 6 n + 2. With depth 20, ten classes and 32×32×3 inputs:
    272,474 parameters.

    Shapes: x (N, H, W, C), such as 28×28 or 32×32 pixels; y (N, classes), the logits of a softmax, whose
    loss starts at log(classes), because they start at nearly 0. Source: He, Zhang, Ren, Sun (2016),
    section 4.2.

    Args:
      classes: the number of logits.
      depth: 6 n + 2 for n = 1, 2, …: 8, 14, 20, 32, 44, 56, 110.
      width: channels of the first stage.
      logit_std: the deviation of the initial weights of the logits.

    Raises:
      TypeError: a count that is no int; of a pass: x is no array, or one of integers.
      ValueError: the depth is none of these, or a count below 1; of a pass: x has not four axes or no
        pixel, or other channels than the parameters were made for.
    """
    check_counts("resnet", classes=classes, width=width)
    blocks, rest = divmod(integer("resnet", "depth", depth) - 2, 6)
    if blocks < 1 or rest:
        raise ValueError(f"resnet: expected a depth of 6 n + 2, such as 8, 14 or 20, got {depth}")
    stem = chain(conv=convolution(width, 3, bias=False), norm=batch_norm(), act=relu())
    stages = {
        f"stage_{i + 1}": chain(
            **{
                f"block_{j + 1}": _block(width << i, narrower=i > 0 and j == 0)
                for j in range(blocks)
            }
        )
        for i in range(3)
    }
    logits = linear(classes, kernel_init=normal(logit_std))
    return of_inputs(
        "resnet",
        "x of shape (N, H, W, C) with at least one pixel",
        lambda shape: len(shape) == 4 and min(shape[1:3]) > 0,
        chain(stem=stem, **stages, pool=global_average_pool(), logits=logits),
    )


def _block(channels: int, *, narrower: bool) -> Layer:
    """`narrower`: whether it halves the image, and so needs another shortcut than the identity."""
    stride = 2 if narrower else 1
    body = chain(
        conv_1=convolution(channels, 3, stride=stride, bias=False),
        norm_1=batch_norm(),
        act=relu(),
        conv_2=convolution(channels, 3, bias=False),
        norm_2=batch_norm(),
    )
    shortcut = None
    if narrower:
        conv = convolution(channels, 1, stride=stride, padding="VALID", bias=False)
        shortcut = chain(conv=conv, norm=batch_norm())
    return chain(sum=residual(body, shortcut), act=relu())
