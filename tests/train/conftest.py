"""Data that a small network can learn, and a state to start from."""

import jax.numpy as jnp
import numpy as np
import pytest
from training import network

from fnn import optimizers, train


@pytest.fixture
def examples(rng):
    """Three clouds, which a small network can tell apart."""
    labels = rng.integers(0, 3, 96).astype(np.int32)
    centres = 3 * rng.normal(size=(3, 5))
    x = (centres[labels] + rng.normal(size=(96, 5))).astype(np.float32)
    return jnp.asarray(x), jnp.asarray(labels)


@pytest.fixture
def start(examples, key):
    return train.init(network(), optimizers.adam(0.01), key, examples[0][:8])
