"""The language model: its form, its equality with raw JAX, and what it may not see."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import reference_gpt
from fnn import losses, models, value_and_grad
from fnn.gradient import auto_value_and_grad
from fnn.tree import paths

LOSS = losses.softmax_cross_entropy()
SMALL = {"context": 5, "layers": 2, "features": 8, "heads": 4}
IDS = jnp.array([[1, 0, 2, 2, 1], [0, 1, 1, 2, 0]], jnp.int32)
TARGETS = jnp.array([[0, 2, 2, 1, 1], [1, 1, 2, 0, 2]], jnp.int32)


def relative(a, b):
    pairs = zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    return max(float(jnp.linalg.norm(p - q) / jnp.linalg.norm(q)) for p, q in pairs)


def sizes(net):
    params, _ = jax.eval_shape(net.init, jax.random.key(0), jnp.zeros((2, 5), jnp.int32))
    return {path: leaf.shape for path, leaf in paths(params)}


def test_shapes_of_the_parameters():
    assert sizes(models.gpt(65)) == {
        "embed/table": (65, 128),
        "positions/table": (128, 128),
        "blocks/block/attention/body/norm/scale": (4, 128),
        "blocks/block/attention/body/norm/bias": (4, 128),
        "blocks/block/attention/body/attend/w_query": (4, 128, 128),
        "blocks/block/attention/body/attend/w_key": (4, 128, 128),
        "blocks/block/attention/body/attend/w_value": (4, 128, 128),
        "blocks/block/attention/body/attend/w_out": (4, 128, 128),
        "blocks/block/attention/body/attend/b_query": (4, 128),
        "blocks/block/attention/body/attend/b_value": (4, 128),
        "blocks/block/attention/body/attend/b_out": (4, 128),
        "blocks/block/mlp/body/norm/scale": (4, 128),
        "blocks/block/mlp/body/norm/bias": (4, 128),
        "blocks/block/mlp/body/expand/w": (4, 128, 512),
        "blocks/block/mlp/body/expand/b": (4, 512),
        "blocks/block/mlp/body/project/w": (4, 512, 128),
        "blocks/block/mlp/body/project/b": (4, 128),
        "norm/scale": (128,),
        "norm/bias": (128,),
        "logits/w": (128, 65),
    }
    assert sum(math.prod(shape) for shape in sizes(models.gpt(65)).values()) == 825_856


def test_a_chain_of_blocks_and_a_tied_matrix_and_rotation():
    assert "blocks/block_2/mlp/body/project/w" in sizes(models.gpt(65, looped=False))
    assert "logits/w" not in sizes(models.gpt(65, tied=True))
    assert "positions/table" not in sizes(models.gpt(65, rotary_base=10_000.0))


def as_raw(params):
    """The parameters in the form of `reference_gpt`."""

    def block(i):
        attention = jax.tree.map(
            lambda leaf: leaf[i], params["blocks"]["block"]["attention"]["body"]
        )
        mlp = jax.tree.map(lambda leaf: leaf[i], params["blocks"]["block"]["mlp"]["body"])
        a = attention["attend"]
        return {
            "norm_1": attention["norm"]._asdict(),
            "qkv": {
                "w": jnp.concatenate([a.w_query, a.w_key, a.w_value], axis=1),
                "b": jnp.concatenate([a.b_query, jnp.zeros_like(a.b_query), a.b_value]),
            },
            "out": {"w": a.w_out, "b": a.b_out},
            "norm_2": mlp["norm"]._asdict(),
            "expand": mlp["expand"]._asdict(),
            "project": mlp["project"]._asdict(),
        }

    return {
        "tokens": params["embed"].table,
        "positions": params["positions"].table,
        "blocks": [block(i) for i in range(2)],
        "norm": params["norm"]._asdict(),
        "logits": params["logits"].w,
    }


def test_loss_and_gradient_equal_those_of_raw_jax(key):
    net = models.gpt(3, **SMALL)
    params, state = net.init(key, IDS)
    params = jax.tree.map(lambda p: p + 0.3 * jax.random.normal(key, p.shape), params)
    (value, _), grads = jax.jit(value_and_grad(net, LOSS))(params, state, IDS, TARGETS)
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        theirs = jax.value_and_grad(
            lambda p: reference_gpt.gpt_loss(as_raw(p), [], IDS, TARGETS)[0]
        )
        expected, expected_grads = jax.jit(theirs)(params)
    np.testing.assert_allclose(value, expected, rtol=1e-6)
    assert relative(grads, expected_grads) < 1e-4


def test_gradient_equals_autodiff_with_every_option(key):
    net = models.gpt(
        3, **SMALL, kv_heads=2, rotary_base=10.0, dropout_rate=0.1, tied=True, looped=False
    )
    params, state = net.init(key, IDS)
    hand, auto = (
        jax.jit(by(net, LOSS))(params, state, IDS, TARGETS, key)[1]
        for by in (value_and_grad, auto_value_and_grad)
    )
    assert relative(hand, auto) < 1e-4


def test_a_loop_of_blocks_is_a_chain_of_blocks(key):
    looped, chained = (models.gpt(3, **SMALL, looped=looped) for looped in (True, False))
    params, state = looped.init(key, IDS)
    stacked = params["blocks"]["block"]
    blocks = {f"block_{i + 1}": jax.tree.map(lambda a, i=i: a[i], stacked) for i in range(2)}
    _, other_state = chained.init(key, IDS)
    np.testing.assert_allclose(
        looped.predict(params, state, IDS),
        chained.predict({**params, "blocks": blocks}, other_state, IDS),
        atol=1e-6,
    )


def test_no_position_sees_a_later_token(key):
    net = models.gpt(3, **SMALL)
    params, state = net.init(key, IDS)
    y = net.predict(params, state, IDS)
    changed = net.predict(params, state, IDS.at[:, 3].set((IDS[:, 3] + 1) % 3))
    np.testing.assert_array_equal(y[:, :3], changed[:, :3])
    assert np.abs(y[:, 3:] - changed[:, 3:]).max() > 0
    np.testing.assert_allclose(net.predict(params, state, IDS[:, :2]), y[:, :2], atol=1e-6)


def test_the_first_loss_is_that_of_ignorance(key):
    net = models.gpt(3, **SMALL)
    params, state = net.init(key, IDS)
    values, _ = LOSS.forward(net.predict(params, state, IDS), TARGETS)
    np.testing.assert_allclose(values.mean(), math.log(3), rtol=0.05)


def test_dropout_asks_for_a_key(key):
    net = models.gpt(3, **SMALL, dropout_rate=0.1)
    params, state = net.init(key, IDS)
    with pytest.raises(ValueError, match=r"dropout\(0.1\)"):
        net.forward(params, state, IDS, None)


@pytest.mark.parametrize("options", [{"layers": 0}, {"features": 7}, {"heads": 0}], ids=str)
def test_refuses_bad_sizes(options):
    with pytest.raises(ValueError, match="gpt: expected"):
        models.gpt(3, **options)
