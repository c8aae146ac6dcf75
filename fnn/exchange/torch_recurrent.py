"""torch's recurrent layers: weights (gates · H, D), and two biases where one does.

torch:  gates = W_ih x + b_ih + W_hh h + b_hh        ours:  x w_x + h w_h + b,  b = b_ih + b_hh

The gates come in the same order: i, f, g, o of the LSTM; r, z, n of the GRU, as in cuDNN. There, the bias
of the candidate's state stays apart, since the reset gate scales it:

        n = tanh(W_in x + b_in + r · (W_hn h + b_hn))
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from fnn.exchange.layout import Module
from fnn.exchange.places import Place, array
from fnn.layers.recurrent_gru import GRUParams
from fnn.layers.recurrent_lstm import LSTMParams
from fnn.layers.recurrent_rnn import RNNParams


class Rules(NamedTuple):
    """How one kind of parameters is written, and read."""

    theirs: Callable[[Place], Module]
    ours: Callable[[Place, Module], Any]


def _theirs(place: Place) -> Module:
    w_x, w_h, b = (array(leaf) for leaf in place.params[:3])
    return {"weight_ih": w_x.T, "weight_hh": w_h.T, "bias_ih": b, "bias_hh": np.zeros_like(b)}


def _matrices(module: Module) -> tuple[Any, Any]:
    return module["weight_ih"].T, module["weight_hh"].T


def _summed(module: Module) -> Any:
    return module["bias_ih"] + module["bias_hh"]


def _gru_theirs(place: Place) -> Module:
    b_h = place.params.b_h
    if b_h is None:
        raise TypeError(
            f"{place}: torch's GRU resets after the product with the state; this one, made with "
            "reset='before', has no counterpart"
        )
    module, features = _theirs(place), len(b_h)
    module["bias_hh"][2 * features :] = array(b_h)
    return module


def _gru_ours(place: Place, module: Module) -> GRUParams:
    gated = 2 * len(place.params.b_h)
    b, b_h = module["bias_ih"], module["bias_hh"]
    together: Any = np.concatenate([b[:gated] + b_h[:gated], b[gated:]])
    return GRUParams(*_matrices(module), together, b_h[gated:])


RECURRENT: dict[type, Rules] = {
    LSTMParams: Rules(_theirs, lambda place, m: LSTMParams(*_matrices(m), _summed(m))),
    RNNParams: Rules(_theirs, lambda place, m: RNNParams(*_matrices(m), _summed(m))),
    GRUParams: Rules(_gru_theirs, _gru_ours),
}
