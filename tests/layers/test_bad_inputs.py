"""Bad inputs, over every layer: an error with what was expected and what came, or an honest answer."""

import jax.numpy as jnp
import pytest
from refusals import refuses_or_is_right
from tables import LAYERS, LayerRow

from fnn.dtypes import check_inexact
from fnn.layer import pure


@pytest.mark.parametrize("name", LAYERS)
def test_other_shapes_and_integers_are_refused_with_a_reason_or_are_right(name, rng, key):
    refuses_or_is_right(LAYERS[name], rng, key)


def test_a_silent_broadcast_is_found(rng, key):
    """The test of the test: a bias that is added to whatever it can be broadcast to."""

    def init(key, x):
        return jnp.zeros(x.shape[-1:])

    def forward(params, x):
        check_inexact(x)
        if x.ndim < 1 or x.shape[-1] not in (1, params.size):
            raise ValueError(f"careless: expected x of shape (…, {params.size}), got {x.shape}")
        return x + params.reshape((1,) * (x.ndim - 1) + (-1,)), ()

    layer = pure("careless", forward, lambda params, cache, dy: (params, dy), init)
    with pytest.raises(AssertionError, match="a width of 1: taken as if it were right"):
        refuses_or_is_right(LayerRow(lambda: layer, (4, 3)), rng, key)
