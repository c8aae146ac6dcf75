"""LeNet-5, the convolutional network that read cheques."""

from fnn.compose import chain
from fnn.initializers import Initializer, he_normal, normal, ones, xavier_normal
from fnn.layer import Layer
from fnn.layers import (
    average_pool,
    convolution,
    depthwise_convolution,
    flatten,
    linear,
    max_pool,
    relu,
    tanh,
)
from fnn.layers.windows import PaddingSetting, Pair, axis_padding, int_or_padding
from fnn.models.sizes import Shape, check_counts, of_inputs

LEAST = 16  # pixels of a padded side, of which S4 leaves one


def lenet(
    classes: int = 10, *, padding: PaddingSetting = 2, modern: bool = False, logit_std: float = 0.01
) -> Layer:
    """LeNet-5: two 5×5 convolutions, each followed by a subsampling, and three dense layers.

    Forward:

        x → c1 (6 maps) → s2 → c3 (16 maps) → s4 → flatten → c5 (120) → f6 (84) → logits

    Backward: dy through the parts in reverse; see `chain`. Cache: that of the parts.

    A subsampling is the mean of 2×2 pixels, times a coefficient and plus a bias for each map (the paper
    has their sum, with a coefficient of a quarter of ours), and a squashing function follows each. C5 is
    a convolution whose window is all of S4's map, so a dense layer. With ten classes and images of 28×28
    pixels and one channel: 61,750 parameters.

    What differs from the paper: C3 reads all six maps of S2, not some of them; the squashing function is
    tanh, not 1.7159 tanh(2x / 3); and the output is the logits of a softmax, not distances from drawn
    digits. `modern` is the form of today: relu after each convolution and dense layer, max pooling
    without parameters (61,706 of them), and He's initial weights in place of Xavier's.

    Shapes: x (N, H, W, C), 32×32 pixels with C1's padding as in the paper, or another size of at least
    16×16 with it; y (N, classes). The loss of a softmax starts at log(classes), because the logits start
    at nearly 0. Source: LeCun, Bottou, Bengio, Haffner (1998).

    Args:
      classes: the number of logits.
      padding: of C1's images; 2 makes the paper's 32×32 of 28×28, and "VALID" is for 32×32 ones.
      modern: relu and max pooling in place of tanh and trained subsampling.
      logit_std: the deviation of the initial weights of the logits.

    Raises:
      TypeError: the number of classes is no int; of a pass: x is no array, or one of integers.
      ValueError: the number of classes is below 1, or a padding that there is not on two axes; of a pass:
        x has not four axes, is smaller than that, or has other sizes than the parameters were made for.
    """
    check_counts("lenet", classes=classes)
    pads = int_or_padding(padding, "lenet")
    if isinstance(pads, tuple) and len(pads) != 2:
        raise ValueError(f"lenet: expected padding of two axes, got {padding!r}")
    init: Initializer = he_normal if modern else xavier_normal
    act = relu if modern else tanh
    c1 = convolution(6, 5, padding=padding, kernel_init=init)
    c3 = convolution(16, 5, padding="VALID", kernel_init=init)
    c5 = linear(120, kernel_init=init)
    f6 = linear(84, kernel_init=init)
    logits = linear(classes, kernel_init=normal(logit_std))
    if modern:
        features = {"c1": c1, "act_1": act(), "s2": max_pool(2)}
        features |= {"c3": c3, "act_3": act(), "s4": max_pool(2)}
    else:
        features = {"c1": c1, "act_1": act(), "s2": _subsampling(), "act_2": act()}
        features |= {"c3": c3, "act_3": act(), "s4": _subsampling(), "act_4": act()}
    head = {"flatten": flatten(), "c5": c5, "act_5": act(), "f6": f6, "act_6": act()}

    side: str | Pair = (pads, pads) if isinstance(pads, int) else "SAME"
    if pads == "VALID":
        side = (0, 0)
    each: tuple[str | Pair, ...] = pads if isinstance(pads, tuple) else (side, side)

    def fits(shape: Shape) -> bool:
        return len(shape) == 4 and all(
            size + sum(axis_padding(size, 5, 1, pad, 1)) >= LEAST
            for size, pad in zip(shape[1:3], each, strict=True)
        )

    return of_inputs(
        "lenet",
        f"x of shape (N, H, W, C) of at least {LEAST}×{LEAST} pixels with C1's padding",
        fits,
        chain(**features, **head, logits=logits),
    )


def _subsampling() -> Layer:
    """The mean of 2×2 pixels, then ``coefficient · mean + bias`` of every map: a depthwise 1×1."""
    return chain(mean=average_pool(2), gain=depthwise_convolution(1, kernel_init=ones))
