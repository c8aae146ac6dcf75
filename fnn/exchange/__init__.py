"""Weights from and for other frameworks, as flat dictionaries of NumPy arrays, and proof that they fit.

    params, state, *_ = exchange.from_torch(net, *net.init(key, x), tensors)
    print(exchange.parity(net, params, state, x, expected_output))

Nothing of those frameworks is imported, and no pickle is read: save their weights as safetensors or npz.
"""

from fnn.exchange.flax_layout import from_flax as from_flax
from fnn.exchange.flax_layout import to_flax as to_flax
from fnn.exchange.layout import Imported as Imported
from fnn.exchange.parity import Difference as Difference
from fnn.exchange.parity import Parity as Parity
from fnn.exchange.parity import parity as parity
from fnn.exchange.torch_layout import from_torch as from_torch
from fnn.exchange.torch_layout import to_torch as to_torch
