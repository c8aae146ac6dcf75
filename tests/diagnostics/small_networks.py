"""Networks of every kind that the diagnostics tell apart, each so small that it compiles quickly."""

from typing import NamedTuple

import jax
import numpy as np

from fnn import Layer, chain, layers, over_time, pure, residual
from fnn.compose import graph, repeat
from fnn.losses import Loss, softmax_cross_entropy


class Case(NamedTuple):
    net: Layer
    x: np.ndarray
    target: np.ndarray
    loss: Loss = softmax_cross_entropy()

    def started(self, dtype=np.float32):
        """(params, state, x, target) with x of this dtype."""
        floating = np.issubdtype(self.x.dtype, np.floating)
        x = self.x.astype(dtype) if floating else self.x
        params, state = self.net.init(jax.random.key(3), x)
        return params, state, x, self.target


def recurrent():
    """A cell of single layers over time: h ← tanh(w_h h + w_x x + b)."""
    both = pure(
        "both", lambda params, x: ((x, x), ()), lambda params, cache, dy: (params, dy[0] + dy[1])
    )
    core = graph(
        {
            "h": (layers.linear(3), "c"),
            "u": (layers.linear(3, bias=False), "x"),
            "sum": (layers.add(), "h", "u"),
            "act": (layers.tanh(), "sum"),
        },
        inputs=("c", "x"),
    )
    return chain(
        time=over_time(
            chain(core=core, both=both), initial=lambda x: jax.numpy.zeros((x.shape[0], 3), x.dtype)
        ),
        logits=layers.linear(3),
    )


def _case(seed, net, shape, target_shape, classes=3, ids=None):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=shape) if ids is None else rng.integers(0, ids, shape)
    return Case(net, x, rng.integers(0, classes, target_shape))


BLOCK = residual(chain(norm=layers.layer_norm(), expand=layers.linear(4), act=layers.relu()))
CASES = {
    "mlp": _case(
        0,
        chain(hidden=layers.linear(6), act=layers.sigmoid(), logits=layers.linear(3)),
        (7, 5),
        7,
    ),
    "convnet": _case(
        1,
        chain(
            conv=layers.convolution(3, (3, 2), stride=2, padding="SAME"),
            act=layers.relu(),
            next=layers.convolution(2, 2, padding="VALID", dilation=2, bias=False),
            flat=layers.flatten(),
            logits=layers.linear(3),
        ),
        (5, 8, 7, 2),
        5,
    ),
    "normed": _case(
        2,
        chain(
            conv=layers.convolution(3, 2, bias=False),
            norm=layers.batch_norm(),
            act=layers.relu(),
            flat=layers.flatten(),
            logits=layers.linear(3),
        ),
        (6, 4, 4, 2),
        6,
    ),
    "repeated": _case(
        3, chain(blocks=repeat(BLOCK, 3), logits=layers.linear(3)), (6, 2, 4), (6, 2)
    ),
    "recurrent": _case(4, recurrent(), (5, 4, 2), (5, 4)),
}
