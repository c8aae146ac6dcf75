"""A network whose training pass draws as in training, but looks at no other example of the batch."""

import jax

from fnn.layer import Key, Layer, PyTree, map_layers


def training_noise(net: Layer) -> Layer:
    """The network with a training pass in which layers draw (dropout), and those with a state predict.

    So an example's prediction is random, and does not depend on the others of its batch (batch norm).
    """
    return map_layers(_still_if_stateful, net)


def _still_if_stateful(path: str, layer: Layer) -> Layer:
    """The layer with a training pass that, where there is state, is the inference pass."""
    del path  # all layers alike

    def forward(
        params: PyTree, state: PyTree, x: PyTree, key: Key
    ) -> tuple[PyTree, PyTree, PyTree]:
        if jax.tree.leaves(state):
            return layer.predict(params, state, x), state, None
        return layer.forward(params, state, x, key)

    return layer._replace(forward=forward)
