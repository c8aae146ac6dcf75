"""Attention to sequences of several lengths: what lies behind an end does not matter."""

import jax
import numpy as np
import pytest

from fnn.layers import attention, multi_head_attention

LENGTHS = np.array([2, 0, 4], np.int8)
PADDING = np.arange(4) >= LENGTHS[:, None]  # (3, 4)


def normal(rng, *shape):
    return rng.normal(size=shape).astype(np.float32)


def spoiled(a, value=np.nan):
    """The array with `value` in place of what lengths leave out."""
    return np.where(PADDING.reshape(3, 4, *[1] * (a.ndim - 2)), np.float32(value), a)


def gradients(layer, params, x, dy):
    """(y, dparams, dx) in one program."""

    @jax.jit
    def both(params, x, dy):
        y, _, cache = layer.forward(params, (), x, None)
        return y, *layer.backward(params, cache, dy)

    return both(params, x, dy)


def equal(a, b):
    jax.tree.map(np.testing.assert_array_equal, a, b)


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("settings", [{}, {"causal": True, "scores_at_once": 8}], ids=str)
def test_keys_and_values_behind_the_end_do_not_matter(rng, settings, value):
    q, dy = normal(rng, 3, 4, 2, 2), normal(rng, 3, 4, 2, 2)
    k, v = (normal(rng, 3, 4, 1, 2) for _ in "kv")
    layer = attention(**settings)
    expected = gradients(layer, (), (q, k, v, LENGTHS), dy)
    found = gradients(layer, (), (q, spoiled(k, value), spoiled(v, value), LENGTHS), dy)
    equal(found, expected)
    _, dk, dv, none = found[2]
    assert none is None
    for d in (dk, dv):
        np.testing.assert_array_equal(np.asarray(d)[PADDING], 0)
        assert np.any(np.asarray(d)[~PADDING])


def test_a_query_that_is_nan_spoils_itself_and_what_its_gradient_goes_to(rng):
    """Lengths are of keys: a query behind them counts, but for one without a gradient."""
    q, k, v = (normal(rng, 3, 4, 1, 2) for _ in "qkv")
    layer, dy = attention(), np.where(PADDING[..., None, None], 0, normal(rng, 3, 4, 1, 2))
    dy = dy.astype(np.float32)
    y, _, dx = gradients(layer, (), (q, k, v, LENGTHS), dy)
    for value in (np.nan, np.inf, -np.inf):
        y_spoiled, _, dx_spoiled = gradients(layer, (), (spoiled(q, value), k, v, LENGTHS), dy)
        np.testing.assert_array_equal(np.asarray(y_spoiled)[~PADDING], np.asarray(y)[~PADDING])
        equal(dx_spoiled, dx)
    everything = gradients(layer, (), (spoiled(q), k, v, LENGTHS), np.ones_like(dy))[2]
    assert np.isnan(everything[1][0, :2]).all()
    assert not np.any(everything[1][0, 2:])  # a key that does not count has no gradient even then


@pytest.mark.parametrize("memory", [False, True])
def test_a_padding_token_of_nan_does_not_matter(rng, key, memory):
    x, dy = normal(rng, 3, 4, 4), normal(rng, 3, 4, 4)
    layer = multi_head_attention(2, kv_heads=1, rotary_base=10.0)
    params, _ = layer.init(key, x)
    if memory:
        of_keys = normal(rng, 3, 4, 4)
        params, _ = layer.init(key, (x, of_keys))
        given, bad = (x, of_keys, LENGTHS), (x, spoiled(of_keys), LENGTHS)
        matters = np.ones_like(PADDING)
    else:
        given, bad, matters = (x, LENGTHS), (spoiled(x), LENGTHS), ~PADDING
        dy = np.where(PADDING[..., None], 0, dy)  # no loss looks at padding
    (y, *expected), (y_bad, *found) = (gradients(layer, params, g, dy) for g in (given, bad))
    np.testing.assert_array_equal(np.asarray(y_bad)[matters], np.asarray(y)[matters])
    equal(found, expected)
    np.testing.assert_array_equal(np.asarray(found[1][int(memory)])[PADDING], 0)


@pytest.mark.parametrize("bad", [-3, 5, 99])
def test_a_length_out_of_range_raises_or_gives_nan(rng, key, bad):
    lengths = np.array([2, bad, 4], np.int32)
    q, k, v = (normal(rng, 3, 4, 2, 2) for _ in "qkv")
    heads = multi_head_attention(2)
    of_heads, _ = heads.init(key, q[:, :, 0])
    for name, layer, params, x in (
        ("attention", attention(), (), (q, k, v, lengths)),
        ("multi_head_attention", heads, of_heads, (q[:, :, 0], lengths)),
        ("multi_head_attention", heads, of_heads, (q[:, :, 0], k[:, :, 0], lengths)),
    ):
        with pytest.raises(
            ValueError, match=rf"^{name}: expected lengths in \[0, 4\], got {bad} at 1"
        ):
            layer.predict(params, (), x)
        y = jax.jit(layer.predict)(params, (), x)
        assert np.isnan(y[1]).all()
        assert np.isfinite(y[::2]).all()


def test_a_length_out_of_range_has_no_gradient(rng):
    """As the derivative of a constant, by hand and by autodiff."""
    lengths = np.array([2, 99, 4], np.int32)
    x, dy = tuple(normal(rng, 3, 4, 1, 2) for _ in "qkv"), normal(rng, 3, 4, 1, 2)
    _, _, (*found, _) = gradients(attention(), (), (*x, lengths), dy)

    @jax.jit
    def auto(x, lengths, dy):
        return jax.vjp(lambda x: attention().predict((), (), (*x, lengths)), x)[1](dy)[0]

    for a, b in zip(found, auto(x, lengths, dy), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)
        assert not np.any(a[1])


def test_the_matrix_after_attention_has_a_gradient_of_nan_then(rng, key):
    """Of dw_out = Σ oᵀ dy, o is NaN; what comes through attention is as if no key counted."""
    x, dy = normal(rng, 3, 4, 4), np.ones((3, 4, 4), np.float32)
    layer = multi_head_attention(2)
    params, _ = layer.init(key, x)
    bad, none = (np.array([2, length, 4], np.int32) for length in (99, 0))
    _, found, dx = gradients(layer, params, (x, bad), dy)
    _, expected, dx_expected = gradients(layer, params, (x, none), dy)
    assert np.isnan(found.w_out).all()
    equal((found._replace(w_out=0), dx), (expected._replace(w_out=0), dx_expected))


@pytest.mark.parametrize("memory", [None, False, True], ids=["attention", "heads", "memory"])
def test_backward_outside_of_jit_does_not_look_at_lengths_again(rng, key, memory):
    """A length that forward, inside of it, gave NaN for has the gradient that it has inside."""
    lengths = np.array([2, 9, 4], np.int32)
    if memory is None:
        layer, x = attention(), (*(normal(rng, 3, 4, 1, 2) for _ in "qkv"), lengths)
    else:
        layer, x = multi_head_attention(1), (normal(rng, 3, 4, 2), lengths)
        x = (x[0], *x) if memory else x
    params, _ = layer.init(key, (*x[:-1], np.array([2, 0, 4], np.int32)))
    y, _, cache = jax.jit(layer.forward)(params, (), x, key)
    dy = np.ones_like(y)
    found, expected = (f(params, cache, dy) for f in (layer.backward, jax.jit(layer.backward)))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), found, expected)
    assert not any(np.any(d[1]) for d in found[1] if d is not None)
