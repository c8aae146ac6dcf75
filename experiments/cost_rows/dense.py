"""Linear maps and changes of shape."""

from experiments.cost_rows.row import CostRow
from fnn import layers

IMAGES = (32, 28, 28, 32)
SAME_NUMBERS = "no arithmetic: the same numbers in another shape, a copy at most"
ROWS = {
    "linear 784 -> 512": CostRow(
        layers.linear(512),
        (128, 784),
        (8, 16),
        lambda p, x: x @ p.w + p.b,
        reason="three matrix products either way",
    ),
    "bias": CostRow(
        layers.bias(),
        IMAGES,
        (4, 3, 2),
        lambda p, x: x + p.b,
        reason="one pass over memory either way",
    ),
    "identity": CostRow(layers.identity(), IMAGES, (4, 3), lambda _, x: x, reason=SAME_NUMBERS),
    "flatten": CostRow(
        layers.flatten(),
        IMAGES,
        (4, 3, 3, 2),
        lambda _, x: x.reshape(x.shape[0], -1),
        reason=SAME_NUMBERS,
    ),
    "reshape": CostRow(
        layers.reshape(-1, 4),
        IMAGES,
        (4, 3, 2, 4),
        lambda _, x: x.reshape(x.shape[0], -1, 4),
        reason=SAME_NUMBERS,
    ),
}
