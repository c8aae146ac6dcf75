"""Weights from and for other frameworks, as flat dictionaries of NumPy arrays, and proof that they fit.

    params, state, *_ = exchange.from_torch(net, *net.init(key, x), tensors)
    print(exchange.parity(net, params, state, x, expected_output))

Nothing of those frameworks is imported, and no pickle is read: save their weights as safetensors or npz.
"""

from fnn.exchange.flax_layout import from_flax, to_flax
from fnn.exchange.layout import Imported
from fnn.exchange.parity import Difference, Parity, parity
from fnn.exchange.torch_layout import from_torch, to_torch

__all__ = [
    "Difference",
    "Imported",
    "Parity",
    "from_flax",
    "from_torch",
    "parity",
    "to_flax",
    "to_torch",
]
