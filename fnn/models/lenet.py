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
from fnn.layers.windows import PaddingSetting


def lenet(
    classes: int = 10, *, padding: PaddingSetting = 2, modern: bool = False, logit_std: float = 0.01
) -> Layer:
    """LeNet-5: two 5×5 convolutions, each followed by a subsampling, and three dense layers.

        x → c1 (6 maps) → s2 → c3 (16 maps) → s4 → flatten → c5 (120) → f6 (84) → logits

    A subsampling is the mean of 2×2 pixels, times a coefficient and plus a bias for each map (the paper
    has their sum, with a coefficient of a quarter of ours), and a squashing function follows each. C5 is
    a convolution whose window is all of S4's map, so a dense layer. With ten classes and images of 28×28
    pixels and one channel: 61,750 parameters.

    What differs from the paper: C3 reads all six maps of S2, not some of them; the squashing function is
    tanh, not 1.7159 tanh(2x / 3); and the output is the logits of a softmax, not distances from drawn
    digits. `modern` is the form of today: relu after each convolution and dense layer, max pooling
    without parameters (61,706 of them), and He's initial weights in place of Xavier's.

    Shapes: x (N, H, W, C), 32×32 pixels after C1's padding as in the paper, or another size of at least
    16×16; y (N, classes). The loss of a softmax starts at log(classes), because the logits start at
    nearly 0. Source: LeCun, Bottou, Bengio, Haffner (1998).

    Args:
      classes: the number of logits.
      padding: of C1's images; 2 makes the paper's 32×32 of 28×28, and "VALID" is for 32×32 ones.
      modern: relu and max pooling in place of tanh and trained subsampling.
      logit_std: the deviation of the initial weights of the logits.
    """
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
    return chain(**features, **head, logits=logits)


def _subsampling() -> Layer:
    """The mean of 2×2 pixels, then ``coefficient · mean + bias`` of every map: a depthwise 1×1."""
    return chain(mean=average_pool(2), gain=depthwise_convolution(1, kernel_init=ones))
