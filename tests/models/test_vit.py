"""The vision transformer: its form, its gradient, and what patches without positions mean."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fnn import losses, models, value_and_grad
from fnn.gradient import auto_value_and_grad

LOSS = losses.softmax_cross_entropy()
SMALL = {"image": (4, 6), "patch": 2, "layers": 2, "features": 4, "heads": 2}


def relative(a, b):
    pairs = zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    return max(float(jnp.linalg.norm(p - q) / jnp.linalg.norm(q)) for p, q in pairs)


@pytest.mark.parametrize(("pooling", "parameters"), [("class", 204_810), ("mean", 204_682)])
def test_sizes(pooling, parameters):
    net, x = models.vit(10, pooling=pooling), jax.ShapeDtypeStruct((3, 28, 28, 1), jnp.float32)
    params, state = jax.eval_shape(net.init, jax.random.key(0), x)
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) == parameters
    assert jax.eval_shape(net.predict, params, state, x).shape == (3, 10)
    assert params["positions"].table.shape == (17 if pooling == "class" else 16, 64)


def test_gradient_equals_autodiff(rng, key):
    net = models.vit(3, **SMALL, dropout_rate=0.1)
    x = jnp.asarray(rng.standard_normal((2, 4, 6, 3)), jnp.float32)
    params, state = net.init(key, x)
    hand, auto = (
        jax.jit(by(net, LOSS))(params, state, x, jnp.array([2, 0]), key)[1]
        for by in (value_and_grad, auto_value_and_grad)
    )
    assert relative(hand, auto) < 1e-4


def test_without_positions_the_order_of_the_patches_does_not_matter(rng, key):
    net = models.vit(3, **SMALL)
    x = jnp.asarray(rng.standard_normal((1, 4, 6, 3)), jnp.float32)
    params, state = net.init(key, x)
    shuffled = jnp.concatenate([x[:, :, 2:4], x[:, :, :2], x[:, :, 4:]], axis=2)
    y, other = (net.predict(params, state, a) for a in (x, shuffled))
    assert np.abs(y - other).max() > 1e-5
    params["positions"] = jax.tree.map(jnp.zeros_like, params["positions"])
    y, other = (net.predict(params, state, a) for a in (x, shuffled))
    np.testing.assert_allclose(y, other, atol=1e-5)


@pytest.mark.parametrize(
    "options",
    [{"pooling": "max"}, {"patch": 3, "image": (4, 6)}, {"heads": 3}, {"layers": 0}],
    ids=str,
)
def test_refuses_bad_sizes(options):
    with pytest.raises(ValueError, match="vit: expected"):
        models.vit(3, **options)
