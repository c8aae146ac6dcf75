"""Saliency, against derivatives by automatic differentiation and by differences."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fnn import compose, layers, losses
from fnn.diagnostics import saliency


@pytest.fixture(scope="module")
def convnet():
    net = compose.chain(
        conv=layers.convolution(3, (3, 3)),
        act=layers.tanh(),
        flat=layers.flatten(),
        logits=layers.linear(4),
    )
    x = jax.random.normal(jax.random.key(1), (3, 5, 5, 2))
    return net, *net.init(jax.random.key(0), x), x, np.array([0, 3, 2], np.int32)


def test_of_the_class_score(convnet):
    net, params, state, x, target = convnet
    maps = saliency(net)(params, state, x, target)
    assert maps.shape == (3, 5, 5)

    def score(image, label):
        return net.predict(params, state, image[None])[0, label]

    by_autodiff = jax.vmap(jax.grad(score))(x, target)
    np.testing.assert_allclose(maps, np.abs(by_autodiff).max(axis=-1), rtol=0, atol=1e-6)
    probabilities = np.eye(4, dtype=np.float32)[target]
    np.testing.assert_array_equal(saliency(net)(params, state, x, probabilities), maps)


def test_of_the_loss_of_each_example(convnet):
    net, params, state, x, target = convnet
    loss = losses.softmax_cross_entropy()
    maps = saliency(net, loss)(params, state, x, target)

    def own(image, label):
        scores = net.predict(params, state, image[None])[0]
        return jax.nn.logsumexp(scores) - scores[label]

    by_autodiff = jax.vmap(jax.grad(own))(x, target)
    np.testing.assert_allclose(maps, np.abs(by_autodiff).max(axis=-1), rtol=0, atol=1e-6)


def test_of_rows_it_has_their_shape():
    net = layers.linear(3)
    params, state = net.init(jax.random.key(0), jnp.zeros((2, 4)))
    maps = saliency(net)(params, state, jnp.ones((2, 4)), np.array([2, 0]))
    np.testing.assert_array_equal(maps, np.abs(np.asarray(params.w)[:, [2, 0]].T))


def test_refusals(convnet):
    net, params, state, x, target = convnet
    with pytest.raises(TypeError, match="x of a floating dtype, got int32"):
        saliency(net)(params, state, jnp.zeros((3, 5, 5, 2), jnp.int32), target)
    with pytest.raises(ValueError, match=r"scores \(N, C\) and targets of N classes"):
        saliency(net)(params, state, x, target[:2])
