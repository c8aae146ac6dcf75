"""Layers and losses that are wrong as Python or as functions, and networks around them."""

import jax.numpy as jnp

from fnn import chain, frozen, layers, losses
from fnn.layer import Static, pure

_CROSS_ENTROPY = losses.softmax_cross_entropy()


def squash(backward):
    """x / (1 + |x|), whose cache is s = 1 + |x|, with a backward pass (s, dy) -> what it returns."""
    return pure(
        "squash",
        lambda params, x: (x / (1 + abs(x)), 1 + abs(x)),
        lambda params, s, dy: backward(params, s, dy),
    )


def right(params, s, dy):
    """What the others are meant to be."""
    return params, dy / s**2


def summed_away(params, s, dy):
    """A number an example."""
    return params, (dy / s**2).sum(-1)


def nothing(params, s, dy):
    """As if the input were of integers."""
    return params, None


def alone(params, s, dy):
    """Without the gradients of the parameters."""
    return dy / s**2


def misnamed(params, s, dy):
    """What raises."""
    return params, dy / s.square


def by_zero(params, s, dy):
    """A division by 0."""
    return params, dy / (s**2 * 0)


def root():
    """√|x|, right, and with an infinite derivative at 0."""

    def backward(params, x, dy):
        return params, dy * jnp.sign(x) / (2 * jnp.sqrt(abs(x)))

    return pure("root", lambda params, x: (jnp.sqrt(abs(x)), x), backward)


def around(middle, last=None):
    """A small classifier of digits with this layer in it, and one after the logits."""
    end = {} if last is None else {"last": last}
    return chain(
        flat=layers.flatten(),
        hidden=layers.linear(32),
        middle=middle,
        act=layers.relu(),
        logits=layers.linear(10),
        **end,
    )


def half_frozen():
    """A classifier whose first layer stays as it is drawn."""
    return chain(
        flat=layers.flatten(),
        h=frozen(layers.linear(64)),
        act=layers.relu(),
        logits=layers.linear(10),
    )


def leaning_relu():
    """max(x, 0), whose backward takes all gradients for those above 0, and a tenth below."""

    def backward(params, x, dy):
        return params, jnp.where(x > 0, dy, 0.1 * dy)

    return pure("leaning_relu", lambda params, x: (jnp.maximum(x, 0), x), backward)


def unscaled_linear(features):
    """A linear layer that forgets the bias's gradient of all but the first example."""
    right = layers.linear(features)

    def backward(params, cache, dy):
        dparams, dx = right.backward(params, cache, dy)
        return dparams._replace(b=dy[0]), dx

    return right._replace(name=f"unscaled_linear({features})", backward=backward)


def summed():
    """Each example's loss times the number of examples."""

    def forward(prediction, target):
        each, cache = _CROSS_ENTROPY.forward(prediction, target)
        return each * len(each), (cache, Static(len(each)))

    def backward(cache, dlosses):
        return _CROSS_ENTROPY.backward(cache[0], dlosses * cache[1].value)

    return _CROSS_ENTROPY._replace(name="summed", forward=forward, backward=backward)


def averaged():
    """One number for all examples."""

    def forward(prediction, target):
        each, cache = _CROSS_ENTROPY.forward(prediction, target)
        return each.mean(), (cache, Static(len(each)))

    def backward(cache, dlosses):
        size = cache[1].value
        return _CROSS_ENTROPY.backward(cache[0], jnp.full(size, dlosses / size))

    return _CROSS_ENTROPY._replace(name="averaged", forward=forward, backward=backward)
