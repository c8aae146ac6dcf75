"""Depthwise and separable convolutions: what they are made of, and one kernel that they amount to."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fnn import layers
from fnn.layers.convolution import ConvolutionCache


def images(rng, *shape):
    return jnp.asarray(rng.normal(size=shape), jnp.float32)


@pytest.mark.parametrize("multiplier", [1, 3])
def test_depthwise_convolves_every_channel_for_itself(multiplier, rng):
    """Output c m + k is channel c under one kernel of its own."""
    x = images(rng, 2, 5, 4, 3)
    layer = layers.depthwise_convolution((3, 2), multiplier=multiplier, stride=(1, 2))
    params, _ = layer.init(jax.random.key(0), x)
    params = params._replace(b=images(rng, 3 * multiplier))
    y = layer.predict(params, (), x)
    one = layers.convolution(1, (3, 2), stride=(1, 2))
    for c in range(3):
        for f in range(c * multiplier, (c + 1) * multiplier):
            kernel = type(params)(params.w[..., f : f + 1], params.b[f : f + 1])
            alone = one.predict(kernel, (), x[..., c : c + 1])
            np.testing.assert_allclose(y[..., f], alone[..., 0], atol=1e-5)


@pytest.mark.parametrize("shape", [(2, 6, 3), (1, 3, 4, 2, 3)])
def test_depthwise_is_a_grouped_convolution_of_any_rank(shape, rng):
    x = images(rng, *shape)
    layer = layers.depthwise_convolution(2, multiplier=2)
    grouped = layers.convolution(6, 2, groups=3)
    params, _ = layer.init(jax.random.key(0), x)
    same, _ = grouped.init(jax.random.key(0), x)
    np.testing.assert_array_equal(params.w, same.w)
    y, _, cache = layer.forward(params, (), x, None)
    np.testing.assert_array_equal(y, grouped.predict(params, (), x))
    assert isinstance(cache, ConvolutionCache)
    assert [leaf.shape for leaf in jax.tree.leaves(cache)] == [x.shape]


def test_depthwise_fan_is_that_of_one_channel():
    layer = layers.depthwise_convolution(5)
    params, _ = layer.init(jax.random.key(0), jax.ShapeDtypeStruct((1, 8, 8, 512), np.float32))
    assert params.w.shape == (5, 5, 1, 512)
    np.testing.assert_allclose(np.std(params.w), np.sqrt(2 / 25), rtol=0.03)


@pytest.mark.parametrize("multiplier", [1, 2])
def test_separable_is_a_convolution_with_the_product_kernel(multiplier, rng):
    x = images(rng, 2, 5, 6, 3)
    layer = layers.separable_convolution(4, 3, multiplier=multiplier, stride=2, dilation=2)
    params, state = layer.init(jax.random.key(0), x)
    assert params["depthwise"].b is None
    depthwise = params["depthwise"].w.reshape(3, 3, 3, multiplier)
    pointwise = params["pointwise"].w.reshape(3, multiplier, 4)
    w = jnp.einsum("ijck,ckf->ijcf", depthwise, pointwise)
    dense = layers.convolution(4, 3, stride=2, dilation=2)
    kernel = type(params["pointwise"])(w, params["pointwise"].b)
    np.testing.assert_allclose(
        layer.predict(params, state, x), dense.predict(kernel, (), x), atol=1e-5
    )


def test_separable_has_few_weights_and_named_parts():
    layer = layers.separable_convolution(256, 3)
    shapes = jax.eval_shape(
        layer.init, jax.random.key(0), jax.ShapeDtypeStruct((1, 14, 14, 128), np.float32)
    )[0]
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes)) == 128 * (9 + 256) + 256
    assert layer.name == "separable_convolution(256, 3)"
    assert list(layer.parts) == ["depthwise", "pointwise"]
    assert layer.rebuild(layer.parts).name == layer.name
    assert layers.separable_convolution(4, 3, bias=False).parts["pointwise"].name == (
        "convolution(4, 1)"
    )


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: layers.depthwise_convolution(3, multiplier=0), "depthwise.* a multiplier of at"),
        (lambda: layers.depthwise_convolution(0), "depthwise_convolution: expected a window"),
        (lambda: layers.separable_convolution(4, 3, multiplier=0), "separable.* a multiplier"),
        (lambda: layers.separable_convolution(0, 3), "separable_convolution: expected at least"),
        (lambda: layers.separable_convolution(4, 3, stride=0), "separable_convolution: expected a"),
    ],
)
def test_bad_settings(build, message):
    with pytest.raises(ValueError, match=message):
        build()


def test_another_number_of_channels_is_refused():
    layer = layers.depthwise_convolution(3, multiplier=2)
    params, _ = layer.init(jax.random.key(0), jax.ShapeDtypeStruct((1, 5, 5, 3), np.float32))
    with pytest.raises(
        ValueError, match=r"depthwise_convolution: expected x of shape \(N, H, W, 3\)"
    ):
        layer.predict(params, (), jnp.zeros((1, 5, 5, 6)))
