"""Layers around one layer that change how it runs, not what it is made of.

They have its children, its parameters' and state's paths, and its keys, so that wrapping a named part of
a network changes neither its checkpoint nor its draws.
"""

from collections.abc import Callable

from fnn.layer import BackwardFunction, ForwardFunction, InitFunction, Layer, PredictFunction


def wrapper(
    wrap: Callable[[Layer], Layer],
    layer: Layer,
    name: str,
    init: InitFunction,
    forward: ForwardFunction,
    backward: BackwardFunction,
    predict: PredictFunction,
) -> Layer:
    """The four functions as ``wrap(layer)``, which is transparent for `map_layers`."""
    rebuild = layer.rebuild
    return Layer(
        name,
        init,
        forward,
        backward,
        predict,
        layer.parts,
        None if rebuild is None else lambda parts: wrap(rebuild(parts)),
    )


def check_layer(name: str, layer: object) -> None:
    """Refuse what is no layer.

    Raises:
      TypeError: with `name`, the wrapper's.
    """
    if not isinstance(layer, Layer):
        hint = "; call the constructor" if callable(layer) else ""
        raise TypeError(f"{name}: expected a Layer, got {layer!r}{hint}")
