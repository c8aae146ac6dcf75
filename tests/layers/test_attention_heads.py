"""Multi-head attention against torch; what it sees, its parameters, and refusals."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fnn.layers import multi_head_attention


def test_heads_equal_torch(rng, key):
    torch = pytest.importorskip("torch")
    x = np.asarray(rng.standard_normal((2, 5, 8)), np.float32)
    theirs = torch.nn.MultiheadAttention(8, 2, batch_first=True)
    weights = theirs.in_proj_weight.detach().numpy()
    layer = multi_head_attention(2)
    params, state = layer.init(key, x)
    w_query, w_key, w_value = (jnp.asarray(w.T) for w in np.split(weights, 3))
    params = params._replace(
        w_query=w_query,
        w_key=w_key,
        w_value=w_value,
        w_out=jnp.asarray(theirs.out_proj.weight.detach().numpy().T),
    )
    lengths = np.array([5, 3], np.int32)
    padding = torch.tensor(np.arange(5) >= lengths[:, None])
    with torch.no_grad():
        expected, _ = theirs(*[torch.tensor(x)] * 3, key_padding_mask=padding)
    y = layer.predict(params, state, (x, lengths))
    np.testing.assert_allclose(y, expected.numpy(), atol=2e-6)


def test_a_memory_that_is_x_is_self_attention(rng, key):
    x = jnp.asarray(rng.standard_normal((2, 3, 4)), jnp.float32)
    layer = multi_head_attention(2, kv_heads=1, rotary_base=10.0)
    params, state = layer.init(key, x)
    y, _, cache = layer.forward(params, state, x, None)
    across, _, cross_cache = layer.forward(params, state, (x, x), None)
    np.testing.assert_allclose(across, y, atol=1e-6)
    dparams, dx = layer.backward(params, cache, y)
    dparams_cross, (dx_own, dx_memory) = layer.backward(params, cross_cache, y)
    np.testing.assert_allclose(dx_own + dx_memory, dx, atol=1e-5)
    for a, b in zip(jax.tree.leaves(dparams_cross), jax.tree.leaves(dparams), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)


def test_a_causal_head_does_not_see_the_future(rng, key):
    x = jnp.asarray(rng.standard_normal((1, 6, 4)), jnp.float32)
    layer = multi_head_attention(2, causal=True)
    params, state = layer.init(key, x)
    y = layer.predict(params, state, x)
    changed = layer.predict(params, state, x.at[0, 4].add(1.0))
    np.testing.assert_array_equal(y[0, :4], changed[0, :4])
    assert np.abs(y[0, 4:] - changed[0, 4:]).min() > 0


def test_shapes_of_the_parameters(key):
    layer = multi_head_attention(4, kv_heads=2, head_features=3)
    x = jax.ShapeDtypeStruct((2, 5, 8), jnp.float32)
    memory = jax.ShapeDtypeStruct((2, 7, 6), jnp.float32)
    params, _ = layer.init(key, (x, memory))
    assert [a.shape for a in params] == [(8, 12), (6, 6), (6, 6), (12, 8), (12,), (6,), (8,)]
    assert multi_head_attention(4, bias=False).init(key, x)[0][4:] == (None, None, None)


def test_heads_refuse_what_does_not_fit(rng, key):
    x = jnp.asarray(rng.standard_normal((2, 5, 8)), jnp.float32)
    layer = multi_head_attention(2)
    params, state = layer.init(key, x)
    for wrong in [(x,), x[0], x[..., :6], (x, x[:1]), (x, x[..., :6]), (x, np.ones(3, np.int32))]:
        with pytest.raises(ValueError, match="multi_head_attention: expected"):
            layer.forward(params, state, wrong, None)
    with pytest.raises(ValueError, match="multiple of 3 heads"):
        multi_head_attention(3).init(key, x)
    with pytest.raises(ValueError, match="even number"):
        multi_head_attention(8, rotary_base=10.0).init(key, x)


@pytest.mark.parametrize(
    "options",
    [
        {"heads": 0},
        {"heads": 4, "kv_heads": 3},
        {"heads": 2, "head_features": 0},
        {"heads": 2, "rotary_base": 0.0},
        {"heads": 2, "rotary_base": 1.0, "rotary_pairs": "thirds"},
        {"heads": 2, "scores_at_once": 0},
    ],
    ids=str,
)
def test_heads_refuse_bad_options(options):
    with pytest.raises(ValueError, match="multi_head_attention: expected"):
        multi_head_attention(**options)
