"""The ready-made networks: sizes, names, shapes, and their gradient as a whole."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fnn import losses, models, value_and_grad
from fnn.gradient import auto_value_and_grad
from fnn.tree import paths


def shaped(*shape):
    return jax.ShapeDtypeStruct(shape, jnp.float32)


def initial(net, x):
    return jax.eval_shape(net.init, jax.random.key(0), x)


def count(tree):
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


@pytest.mark.parametrize(
    ("net", "parameters"),
    [(models.mlp((512, 512), 10), 669_706), (models.convnet(10), 468_138)],
    ids=["mlp", "convnet"],
)
def test_sizes(net, parameters):
    params, state = initial(net, shaped(128, 28, 28, 1))
    assert count(params) == parameters
    y = jax.eval_shape(net.predict, params, state, shaped(128, 28, 28, 1))
    assert (y.shape, y.dtype) == ((128, 10), jnp.float32)


def test_convnet_is_the_one_of_the_docstring():
    params, state = initial(models.convnet(10), shaped(1, 28, 28, 1))
    assert {path: leaf.shape for path, leaf in paths(params)} == {
        "block_1/conv_1/w": (3, 3, 1, 32),
        "block_1/norm_1/scale": (32,),
        "block_1/norm_1/bias": (32,),
        "block_1/conv_2/w": (3, 3, 32, 32),
        "block_1/norm_2/scale": (32,),
        "block_1/norm_2/bias": (32,),
        "block_2/conv_1/w": (3, 3, 32, 64),
        "block_2/norm_1/scale": (64,),
        "block_2/norm_1/bias": (64,),
        "block_2/conv_2/w": (3, 3, 64, 64),
        "block_2/norm_2/scale": (64,),
        "block_2/norm_2/bias": (64,),
        "head/dense/w": (7 * 7 * 64, 128),
        "head/norm/scale": (128,),
        "head/norm/bias": (128,),
        "logits/w": (128, 10),
        "logits/b": (10,),
    }
    assert count(state) == 2 * (32 + 32 + 64 + 64 + 128)


def test_mlp_names():
    net = models.mlp((8, 4), 3, dropout_rate=0.5)
    assert list(net.parts) == [
        "flatten", "hidden_1", "act_1", "drop_1", "hidden_2", "act_2", "drop_2", "logits",
    ]  # fmt: skip
    assert list(models.mlp((), 3).parts) == ["flatten", "logits"]


@pytest.mark.parametrize("build", [models.convnet, lambda classes: models.mlp((16,), classes)])
def test_digits_of_eight_by_eight(build, rng, key):
    net = build(10)
    x = jnp.asarray(rng.normal(size=(3, 8, 8, 1)), jnp.float32)
    params, state = net.init(key, x)
    y, _, _ = net.forward(params, state, x, None)  # without dropout, no key is needed
    assert y.shape == (3, 10)


@pytest.mark.parametrize(
    "net",
    [
        models.mlp((12, 7), 5, dropout_rate=0.3),
        models.convnet(5, channels=(3, 4), features=6, dropout_rate=0.3),
    ],
    ids=["mlp", "convnet"],
)
def test_gradient_is_jax_grads(net, rng, key):
    with jax.enable_x64(True):
        x = jnp.asarray(rng.normal(size=(6, 8, 8, 1)))
        target = jnp.asarray(rng.integers(0, 5, 6))
        params, state = net.init(key, x)
        loss = losses.softmax_cross_entropy()
        by_hand, by_jax = (
            jax.jit(derive(net, loss))(params, state, x, target, key)[1]
            for derive in (value_and_grad, auto_value_and_grad)
        )
        for (path, hand), auto in zip(paths(by_hand), jax.tree.leaves(by_jax), strict=True):
            assert auto.dtype == np.float64
            scale = np.linalg.norm(np.ravel(auto))
            assert scale > 0, path
            np.testing.assert_allclose(hand, auto, rtol=0, atol=1e-12 * scale, err_msg=path)


@pytest.mark.parametrize("rate", [-0.1, 1.0])
def test_refuses_a_rate_that_is_none(rate):
    with pytest.raises(ValueError, match="rate"):
        models.mlp((4,), 2, dropout_rate=rate)
    with pytest.raises(ValueError, match="rate"):
        models.convnet(2, dropout_rate=rate)


@pytest.mark.parametrize(
    ("build", "path"),
    [
        (lambda rate: models.mlp((64,), 2, dropout_rate=rate), ("drop_1",)),
        (lambda rate: models.convnet(2, dropout_rate=rate), ("head", "drop")),
    ],
    ids=["mlp", "convnet"],
)
@pytest.mark.parametrize("rate", [0.2, 0.7])
def test_the_fraction_dropped_is_the_one_asked_for(build, path, rate, key):
    layer = build(rate)
    for name in path:
        layer = layer.parts[name]
    y, _, _ = layer.forward((), (), jnp.ones((200, 200)), key)
    assert abs(np.mean(y == 0) - rate) < 5 * np.sqrt(rate * (1 - rate) / y.size)
