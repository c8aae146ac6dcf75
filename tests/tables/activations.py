"""Activations."""

import numpy as np

from fnn import layers

from .rows import LayerRow

SHAPE = (4, 3)


def near_zero(rng: np.random.Generator) -> np.ndarray:
    """Numbers on both sides of the corner: a slope that is summed over all tells little of each."""
    return rng.uniform(-0.4, 0.4, SHAPE).astype(np.float32)


SATURATED = (
    "autodiff multiplies the slope 0 of tanh by that of its argument, ∞; by hand it is 0 or 1"
)
UNBOUNDED = "autodiff sums parts of the gate's slope after a factor ∞, as ∞ - ∞; by hand before"

LAYERS = {
    "sigmoid": LayerRow(layers.sigmoid, SHAPE),
    "tanh": LayerRow(layers.tanh, SHAPE),
    "relu": LayerRow(layers.relu, SHAPE),
    "relu6": LayerRow(layers.relu6, SHAPE),
    "leaky_relu": LayerRow(lambda: layers.leaky_relu(0.1), SHAPE),
    "prelu": LayerRow(layers.prelu, near_zero),
    "prelu, per channel": LayerRow(lambda: layers.prelu(per_channel=True), (2, 3, 3)),
    "elu": LayerRow(lambda: layers.elu(0.7), SHAPE),
    "selu": LayerRow(layers.selu, SHAPE),
    "celu": LayerRow(lambda: layers.celu(0.7), SHAPE),
    "softplus": LayerRow(layers.softplus, SHAPE),
    "softsign": LayerRow(layers.softsign, SHAPE),
    "gelu": LayerRow(layers.gelu, SHAPE, hard={"inf": SATURATED, "-inf": SATURATED}),
    "gelu, exact": LayerRow(lambda: layers.gelu(approximate=False), SHAPE),
    "silu": LayerRow(layers.silu, SHAPE),
    "mish": LayerRow(layers.mish, SHAPE),
    "squareplus": LayerRow(layers.squareplus, SHAPE),
    "hard_sigmoid": LayerRow(layers.hard_sigmoid, SHAPE),
    "hard_tanh": LayerRow(layers.hard_tanh, SHAPE),
    "hard_swish": LayerRow(layers.hard_swish, SHAPE),
    "softmax": LayerRow(layers.softmax, SHAPE),
    "softmax over the first axis": LayerRow(lambda: layers.softmax(axis=0), SHAPE),
    "log_softmax": LayerRow(layers.log_softmax, SHAPE),
    "hardmax": LayerRow(layers.hardmax, SHAPE),
    "glu": LayerRow(layers.glu, (4, 6)),
    "geglu": LayerRow(layers.geglu, (4, 6), hard={"inf": UNBOUNDED, "-inf": UNBOUNDED}),
    "geglu, exact": LayerRow(
        lambda: layers.geglu(approximate=False), (4, 6), hard={"inf": UNBOUNDED, "-inf": UNBOUNDED}
    ),
    "swiglu": LayerRow(layers.swiglu, (2, 2, 6)),
    "maxout": LayerRow(lambda: layers.maxout(3, 2), SHAPE),
    "maxout of a sequence": LayerRow(lambda: layers.maxout(2, 3), (2, 2, 3)),
}
