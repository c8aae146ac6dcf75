"""A network, and weights for it from elsewhere."""

import numpy as np
import pytest
from torch_convnet import convnet, first_last, state_dict


@pytest.fixture
def loaded(rng, key):
    tensors, x = state_dict(rng), rng.normal(size=(2, 2, 3, 2)).astype(np.float32)
    net = convnet()
    params, state = net.init(key, first_last(x))
    return net, params, state, tensors, x
