"""A layer that is used, but not trained."""

from typing import NamedTuple

from fnn.compose.watch import Around, watched
from fnn.compose.wrapper import check_layer, wrapper
from fnn.layer import Key, Layer, PyTree


class FrozenState(NamedTuple):
    """The state of a frozen layer: what were its parameters, and its own state."""

    params: PyTree
    state: PyTree


def frozen(layer: Layer) -> Layer:
    """The layer with its parameters moved into its state, where no optimizer finds them.

    Forward: the layer's, so that running statistics still move; the parameters do not. Backward: dx
    alone, and ``dparams = ()``; under `jit`, what only the parameter gradients need is not computed.
    Gradients pass through to what lies before it.

    Shapes: the layer's; ``params = ()`` and ``state = (params, state)`` of the layer. Cache: the
    layer's, and the parameters themselves (no copy), since dx may need them.
    Source: Yosinski, Clune, Bengio, Lipson (2014).

    Raises:
      TypeError: `layer` is no Layer.
    """
    check_layer("frozen", layer)

    def init(key: Key, x: PyTree) -> tuple[tuple[()], FrozenState]:
        return (), FrozenState(*layer.init(key, x))

    def forward(
        params: tuple[()], state: FrozenState, x: PyTree, key: Key
    ) -> tuple[PyTree, FrozenState, Around]:
        del params  # there are none
        y, inner, cache = layer.forward(state.params, state.state, x, key)
        return y, FrozenState(state.params, inner), Around(cache, state.params)

    def backward(params: tuple[()], cache: Around, dy: PyTree) -> tuple[PyTree, PyTree]:
        dparams, dx = layer.backward(cache.own, cache.cache, dy)
        return dparams if watched(dparams) else params, dx

    def predict(params: tuple[()], state: FrozenState, x: PyTree) -> PyTree:
        del params  # there are none
        return layer.predict(state.params, state.state, x)

    return wrapper(frozen, layer, f"frozen({layer.name})", init, forward, backward, predict)
