"""Weight decay, for all parameters or those of a path rule."""

from typing import Any

from fnn.layer import Array
from fnn.optimizers.hyperparameters import Given
from fnn.optimizers.leafwise import leafwise
from fnn.optimizers.optimizer import Optimizer
from fnn.optimizers.rules import Where, masked


def decay_weights(weight_decay: Given, where: Where = "*") -> Optimizer:
    """A pull towards zero: ``u = g + weight_decay · p``.

    Before the moments it is coupled: the gradient of ½ · weight_decay · ‖p‖², which the moments then
    rescale like any gradient. After them it is decoupled: every parameter shrinks by the same share.

        compose(decay=decay_weights(0.01), moments=…, rate=descend(rate))      Adam with L2
        compose(moments=…, decay=decay_weights(0.01), rate=descend(rate))      AdamW

    For plain gradient descent the two are one. ``where=("!*/b", "!*/scale", "*")`` spares biases and
    scales, as `masked` does. Hyperparameter: weight_decay. Source: Loshchilov, Hutter (2019).

    Raises:
      ValueError: the weight decay is a number that is negative or not finite.
    """

    def rule(h: Any, g: Array, p: Array) -> tuple[Array]:
        return (g + h.weight_decay * p,)

    transform = leafwise(rule, hyper={"weight_decay": weight_decay})
    return transform if where == "*" else masked(transform, where)
