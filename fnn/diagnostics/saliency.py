"""Where a change of the input would change the answer most.

    map    |d s_t / d x|, of a channel the largest        s_t: the score of class t

It is the dx of the network's own hand-written backward pass. Source: Simonyan, Vedaldi, Zisserman (2014).
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from fnn.layer import Array, Key, Layer, PyTree
from fnn.losses import Loss


def saliency(net: Layer, loss: Loss | None = None) -> Callable[..., Array]:
    """``look(params, state, x, target, key=None) -> maps``, pure and jitted; not negative.

    Of the score of the target's class, or, with `loss`, of each example's loss. Images x (N, H, W, C)
    give (N, H, W), the largest over the channels; anything else gives x's own shape. The backward pass is
    that of the training pass: dropout is drawn with `key`, and with batch norm, which sees the batch,
    an example's map has what it changes in the answers to the others in it too.

    Args:
      net: the network; of scores (N, C), if there is no loss.
      loss: that of an example; None for the score.

    Raises (at a call):
      TypeError: x is of integers, which have no gradient.
      ValueError: without a loss, scores that are not (N, C) for N targets.
    """

    def function(params: PyTree, state: PyTree, x: Array, target: PyTree, key: Key = None) -> Array:
        if not jnp.issubdtype(x.dtype, jnp.floating):
            raise TypeError(
                f"saliency: expected x of a floating dtype, got {x.dtype}; look at what comes "
                "after the embedding instead, with `passages`"
            )
        prediction, _, cache = net.forward(params, state, x, key)
        if loss is None:
            target = jnp.asarray(target)
            whole = jnp.issubdtype(target.dtype, jnp.integer)
            labels = target if whole else target.argmax(axis=-1)
            if prediction.ndim != 2 or labels.shape != prediction.shape[:1]:
                raise ValueError(
                    "saliency: expected scores (N, C) and targets of N classes, got shapes "
                    f"{prediction.shape} and {labels.shape}; give the loss for other answers"
                )
            dprediction = jax.nn.one_hot(labels, prediction.shape[1], dtype=prediction.dtype)
        else:
            losses, loss_cache = loss.forward(prediction, target)
            dprediction = loss.backward(loss_cache, jnp.ones_like(losses))
        _, dx = net.backward(params, cache, dprediction)
        size = jnp.abs(dx)
        return size.max(axis=-1) if size.ndim == 4 else size

    return jax.jit(function)
