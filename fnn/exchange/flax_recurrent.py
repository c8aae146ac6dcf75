"""Flax's recurrent cells: a matrix for every gate, where ours lie side by side.

The gates of x and of the state, in our order, are `ii`, `if`, `ig`, `io` and `hi`, … of the LSTM; `ir`,
`iz`, `in` and `hr`, … of the GRU; `i` and `h` of the simple cell. One bias a gate: the LSTM's belongs to
the state's matrix, the others' to that of x, and the GRU's candidate has one for each.
"""

from typing import Any

import numpy as np

from fnn.exchange.layout import Module
from fnn.exchange.places import Place, array
from fnn.layers.recurrent_gru import GRUParams
from fnn.layers.recurrent_lstm import LSTMParams
from fnn.layers.recurrent_rnn import RNNParams

GATES: dict[type, tuple[tuple[str, ...], tuple[str, ...]]] = {
    LSTMParams: (("ii", "if", "ig", "io"), ("hi", "hf", "hg", "ho")),
    GRUParams: (("ir", "iz", "in"), ("hr", "hz", "hn")),
    RNNParams: (("i",), ("h",)),
}


def recurrent_to_flax(place: Place) -> Module:
    """The module's arrays.

    Raises:
      TypeError: a GRU that resets before the product with the state.
    """
    params = place.params
    of_x, of_h = GATES[type(params)]
    if isinstance(params, GRUParams) and params.b_h is None:
        raise TypeError(
            f"{place}: flax's GRU resets after the product with the state; this one, made with "
            "reset='before', has no counterpart"
        )
    module: Module = {}
    for gates, w in ((of_x, params.w_x), (of_h, params.w_h)):
        for gate, kernel in zip(gates, np.split(array(w), len(gates), axis=1), strict=True):
            module[f"{gate}/kernel"] = kernel
    with_bias = of_h if isinstance(params, LSTMParams) else of_x
    for gate, bias in zip(with_bias, np.split(array(params.b), len(with_bias)), strict=True):
        module[f"{gate}/bias"] = bias
    if isinstance(params, GRUParams):
        module["hn/bias"] = array(params.b_h)
    return module


def recurrent_from_flax(place: Place, module: Module) -> Any:
    """Our parameters."""
    kind: Any = type(place.params)
    of_x, of_h = GATES[kind]
    with_bias = of_h if kind is LSTMParams else of_x
    w_x, w_h = (
        np.concatenate([module[f"{gate}/kernel"] for gate in gates], axis=1)
        for gates in (of_x, of_h)
    )
    b = np.concatenate([module[f"{gate}/bias"] for gate in with_bias])
    own = (module["hn/bias"],) if kind is GRUParams else ()
    return kind(w_x, w_h, b, *own)
