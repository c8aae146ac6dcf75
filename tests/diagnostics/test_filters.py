"""First-layer weights as images."""

import jax.numpy as jnp
import numpy as np
import pytest

from fnn import chain, layers
from fnn.diagnostics import first_layer_filters


def test_convolution_gives_one_image_a_channel_and_unit(rng, key):
    net = chain(norm=layers.batch_norm(), conv=layers.convolution(5, (2, 3)), act=layers.relu())
    params, _ = net.init(key, jnp.zeros((1, 6, 6, 2)))
    images = first_layer_filters(net, params, (6, 6, 2))
    assert images.shape == (10, 2, 3)
    w = np.asarray(params["conv"].w)
    np.testing.assert_array_equal(images[3], w[:, :, 1, 1])  # unit 1, channel 1


def test_dense_kernel_is_folded_back_into_an_image(key):
    # The names are in no alphabetical order: it is the first layer that counts.
    net = chain(z=layers.flatten(), y=layers.linear(4), a=layers.linear(3))
    x = jnp.zeros((1, 3, 5, 2))
    params, _ = net.init(key, x)
    images = first_layer_filters(net, params, (3, 5, 2))
    assert images.shape == (8, 3, 5)
    column = np.asarray(params["y"].w)[:, 2].reshape(3, 5, 2)
    np.testing.assert_array_equal(images[5], column[:, :, 1])


def test_refuses_a_network_without_a_kernel(key):
    net = chain(act=layers.relu())
    with pytest.raises(ValueError, match="found none"):
        first_layer_filters(net, {"act": ()}, (2, 2, 1))


def test_refuses_a_kernel_that_is_no_map_of_images(key):
    net = layers.linear(4)
    params, _ = net.init(key, jnp.zeros((1, 7)))
    with pytest.raises(ValueError, match=r"got \(7, 4\)"):
        first_layer_filters(net, params, (2, 2, 1))
