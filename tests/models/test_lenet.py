"""LeNet-5: its sizes layer by layer, where its loss starts, and its gradient as a whole."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fnn import losses, models, value_and_grad
from fnn.gradient import auto_value_and_grad
from fnn.tree import paths

# Weights of each layer with 28×28 (padded) or 32×32 pixels; those of the paper but for C3 and the output.
SIZES = {
    "c1": 156,
    "s2": 12,
    "c3": 2416,
    "s4": 32,
    "c5": 48_120,
    "f6": 10_164,
    "logits": 850,
}


def sizes(net, shape):
    x = jax.ShapeDtypeStruct(shape, jnp.float32)
    params, _ = jax.eval_shape(net.init, jax.random.key(0), x)
    counted = {}
    for path, leaf in paths(params):
        name = path.split("/")[0]
        counted[name] = counted.get(name, 0) + leaf.size
    return counted


@pytest.mark.parametrize(
    ("size", "padding"), [(28, 2), (32, "VALID")], ids=["28 padded", "32 as in the paper"]
)
def test_sizes_are_those_of_the_paper(size, padding):
    net = models.lenet(10, padding=padding)
    assert sizes(net, (1, size, size, 1)) == SIZES
    assert sum(SIZES.values()) == 61_750


def test_the_modern_form_has_no_weights_in_its_poolings():
    net = models.lenet(10, modern=True)
    expected = {name: count for name, count in SIZES.items() if name not in ("s2", "s4")}
    assert sizes(net, (1, 28, 28, 1)) == expected
    assert sum(expected.values()) == 61_706
    assert [name for name in net.parts if name.startswith("act")] == [
        "act_1", "act_3", "act_5", "act_6",
    ]  # fmt: skip


def test_maps_get_smaller_as_in_the_paper(key):
    net = models.lenet(10, padding="VALID")
    x = jax.ShapeDtypeStruct((2, 32, 32, 1), jnp.float32)
    params, state = jax.eval_shape(net.init, key, x)
    shapes = {}
    for name, part in net.parts.items():
        x = jax.eval_shape(part.predict, params[name], state[name], x)
        shapes[name] = x.shape[1:]
    assert shapes["c1"] == (28, 28, 6)
    assert shapes["s2"] == (14, 14, 6)
    assert shapes["c3"] == (10, 10, 16)
    assert shapes["s4"] == (5, 5, 16)
    assert shapes["c5"] == (120,)
    assert shapes["f6"] == (84,)
    assert shapes["logits"] == (10,)


def test_a_subsampling_is_a_coefficient_times_the_mean_plus_a_bias(rng, key):
    layer = models.lenet(10).parts["s2"]
    x = jnp.asarray(rng.normal(size=(2, 4, 6, 3)), jnp.float32)
    params, state = layer.init(key, x)
    assert np.all(np.asarray(params["gain"].w) == 1)
    w, b = rng.normal(size=(1, 1, 1, 3)), rng.normal(size=3)
    gain = type(params["gain"])(jnp.asarray(w, jnp.float32), jnp.asarray(b, jnp.float32))
    y = layer.predict({**params, "gain": gain}, state, x)
    means = np.asarray(x).reshape(2, 2, 2, 3, 2, 3).mean(axis=(2, 4))
    np.testing.assert_allclose(y, w[0, 0, 0] * means + b, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("modern", [False, True])
@pytest.mark.parametrize("classes", [3, 10])
def test_the_loss_starts_at_log_of_classes(classes, modern, rng, key):
    net = models.lenet(classes, modern=modern)
    x = jnp.asarray(rng.normal(size=(16, 16, 16, 1)), jnp.float32)
    params, state = net.init(key, x)
    target = jnp.asarray(rng.integers(0, classes, 16), jnp.int32)
    each, _ = losses.softmax_cross_entropy().forward(net.predict(params, state, x), target)
    np.testing.assert_allclose(np.mean(each), np.log(classes), rtol=0.03)


def test_gradient_is_jax_grads(rng, key):
    net, loss = models.lenet(4, logit_std=0.3), losses.softmax_cross_entropy()
    with jax.enable_x64(True):
        x = jnp.asarray(rng.normal(size=(2, 16, 16, 1)))
        params, state = net.init(key, x)
        target = jnp.asarray([1, 3])
        hand, auto = (
            jax.jit(derive(net, loss))(params, state, x, target, None)[1]
            for derive in (value_and_grad, auto_value_and_grad)
        )
        for (path, by_hand), by_jax in zip(paths(hand), jax.tree.leaves(auto), strict=True):
            scale = np.linalg.norm(np.ravel(by_jax))
            assert scale > 0, path
            np.testing.assert_allclose(by_hand, by_jax, rtol=0, atol=1e-12 * scale, err_msg=path)
