"""Which of two float32 gradients is nearer the truth, the one by hand or the one of `jax.grad`.

    python -m experiments.precision

The convnet on one batch of 128 packaged digits, at its first parameters. For every leaf: the relative
distance ‖a - b‖ / ‖b‖ of the two float32 gradients from each other, and of each from the float64 one.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from fnn import data, losses, models
from fnn.gradient import Differentiated, auto_value_and_grad, value_and_grad
from fnn.layer import Layer, PyTree
from fnn.losses import Loss
from fnn.tree import paths


def main() -> None:
    """Print the table."""
    dataset, _ = data.centred(data.load("packaged"))
    x, labels = dataset.train.x[:128], dataset.train.y[:128]
    net, loss = models.convnet(10), losses.softmax_cross_entropy()
    params, state = net.init(jax.random.key(0), jnp.asarray(x))

    def gradient(differentiate: Callable[[Layer, Loss], Differentiated], *trees: PyTree) -> PyTree:
        _, dparams = jax.jit(differentiate(net, loss))(*trees)
        return jax.tree.map(np.asarray, dparams)

    single = (params, state, jnp.asarray(x), jnp.asarray(labels))
    hand, auto = (gradient(d, *single) for d in (value_and_grad, auto_value_and_grad))
    with jax.enable_x64(True):
        wide = jax.tree.map(lambda a: jnp.asarray(np.asarray(a), jnp.float64), single[:3])
        truth = gradient(value_and_grad, *wide, single[3])

    print(f"{'':18}{'hand - auto':>14}{'hand - truth':>14}{'auto - truth':>14}")
    rows = zip(paths(hand), jax.tree.leaves(auto), jax.tree.leaves(truth), strict=True)
    for (path, h), a, t in rows:
        print(f"{path:18}{distance(h, a):14.1e}{distance(h, t):14.1e}{distance(a, t):14.1e}")


def distance(a: np.ndarray, b: np.ndarray) -> float:
    """‖a - b‖ / ‖b‖."""
    wide = np.asarray(b, np.float64)
    return float(np.linalg.norm(np.asarray(a, np.float64) - wide) / np.linalg.norm(wide))


if __name__ == "__main__":
    main()
