"""Attention against loops, `jax.nn` and torch; its conventions, blocks, memory and refusals."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fnn.layers import attention
from fnn.layers import attention_blocks as blocks
from fnn.layers.attention import AttentionCache

BLOCKS = [None, 30]  # scores at once: all of them, or those of a query


def draw(rng, n=2, t=5, s=5, heads=4, kv_heads=4, d=3, e=3):
    shapes = ((n, t, heads, d), (n, s, kv_heads, d), (n, s, kv_heads, e))
    return tuple(jnp.asarray(rng.standard_normal(shape), jnp.float32) for shape in shapes)


def by_loops(q, k, v, allowed, scale=None):
    """Query by query, in float64; `allowed` is (N, H, T, S)."""
    q, k, v = (np.asarray(a, np.float64) for a in (q, k, v))
    n, t, heads, d = q.shape
    each = heads // k.shape[2]
    out = np.zeros((n, t, heads, v.shape[3]))
    for i, j, h in np.ndindex(n, t, heads):
        seen = np.flatnonzero(allowed[i, h, j])
        if seen.size:
            a = k[i, seen, h // each] @ q[i, j, h] * (1 / math.sqrt(d) if scale is None else scale)
            weights = np.exp(a - a.max())
            out[i, j, h] = weights @ v[i, seen, h // each] / weights.sum()
    return out


def everywhere(q, k, causal=False):
    allowed = np.ones((q.shape[0], q.shape[2], q.shape[1], k.shape[1]), bool)
    return np.tril(allowed) if causal else allowed


def run(layer, *x):
    return layer.forward((), (), x, None)


def gradients(layer, x, dy):
    y, _, cache = run(layer, *x)
    return y, layer.backward((), cache, dy)[1]


@pytest.mark.parametrize("scores", BLOCKS)
@pytest.mark.parametrize("causal", [False, True])
def test_equals_a_loop_over_queries(rng, scores, causal):
    q, k, v = draw(rng, t=6, s=4, kv_heads=2, e=2)
    y, _, _ = run(attention(causal=causal, scale=0.7, scores_at_once=scores), q, k, v)
    np.testing.assert_allclose(y, by_loops(q, k, v, everywhere(q, k, causal), 0.7), atol=1e-6)


@pytest.mark.parametrize("scores", BLOCKS)
def test_every_kind_of_mask_equals_a_loop(rng, scores):
    q, k, v = draw(rng, kv_heads=2)
    shape = (2, 4, 5, 5)
    full = rng.random(shape) < 0.6
    masks = {
        "lengths": (
            np.array([3, 0], np.int8),
            np.arange(5) < np.array([3, 0])[:, None, None, None],
        ),
        "keys": (full[:, 0, 0], full[:, :1, :1]),
        "keys of a query": (full[:, 0], full[:, :1]),
        "keys of a head": (full[:, :, :1], full[:, :, :1]),
        "all": (full, full),
    }
    for mask, allowed in masks.values():
        y, _, _ = run(attention(scores_at_once=scores), q, k, v, mask)
        np.testing.assert_allclose(y, by_loops(q, k, v, np.broadcast_to(allowed, shape)), atol=1e-6)


@pytest.mark.parametrize(("kv_heads", "causal"), [(1, False), (2, True), (4, False)])
def test_value_and_gradient_equal_those_of_jax_nn(rng, kv_heads, causal):
    q, k, v = draw(rng, kv_heads=kv_heads)
    mask = np.asarray(rng.random((2, 4, 5, 5)) < 0.7)
    mask[..., 0] = True  # jax.nn takes the mean of all values where no key counts
    dy = jnp.asarray(rng.standard_normal(q.shape), jnp.float32)
    theirs = functools.partial(
        jax.nn.dot_product_attention, mask=jnp.asarray(mask), is_causal=causal
    )
    y, pull = jax.vjp(theirs, q, k, v)
    ours, (dq, dk, dv, dmask) = gradients(
        attention(causal=causal, scores_at_once=11), (q, k, v, mask), dy
    )
    assert dmask is None
    np.testing.assert_allclose(ours, y, atol=2e-6)
    for a, b in zip((dq, dk, dv), pull(dy), strict=True):
        np.testing.assert_allclose(a, b, atol=5e-6)


@pytest.mark.parametrize("causal", [False, True])
def test_equals_torch(rng, causal):
    torch = pytest.importorskip("torch")
    q, k, v = draw(rng)
    theirs = torch.nn.functional.scaled_dot_product_attention(
        *(torch.tensor(np.asarray(a)).transpose(1, 2) for a in (q, k, v)), is_causal=causal
    )
    y, _, _ = run(attention(causal=causal), q, k, v)
    np.testing.assert_allclose(y, theirs.transpose(1, 2).numpy(), atol=2e-6)


@pytest.mark.parametrize("scores", [None, 8])
def test_a_query_without_keys_gives_zeros_and_no_gradient(rng, scores):
    q, k, v = draw(rng)
    mask = np.array([[True] * 5, [False] * 5])
    y, (dq, dk, dv, _) = gradients(
        attention(scores_at_once=scores), (q, k, v, mask), jnp.ones(q.shape)
    )
    for a in (y, dq, dk, dv):
        assert np.isfinite(a).all()
        assert not np.any(np.asarray(a)[1])
        assert np.any(np.asarray(a)[0])


@pytest.mark.parametrize(("n", "t", "s"), [(2, 0, 3), (2, 3, 0), (0, 3, 3), (2, 0, 0)])
@pytest.mark.parametrize("scores", [None, 4])
@pytest.mark.parametrize("causal", [False, True])
def test_zero_lengths(rng, n, t, s, scores, causal):
    x = draw(rng, n=n, t=t, s=s)
    layer = attention(causal=causal, scores_at_once=scores)
    y, found = gradients(layer, x, jnp.ones((n, t, 4, 3)))
    assert y.shape == (n, t, 4, 3)
    for a in (y, *found):
        assert not np.any(a)
    assert [d.shape for d in found] == [a.shape for a in x]


def test_far_scores_do_not_overflow():
    q = jnp.full((1, 1, 1, 1), 1e3)
    k = jnp.array([1.0, 2.0, 3.0])[None, :, None, None]
    y, (dq, dk, dv) = gradients(attention(), (q, k, k), jnp.ones((1, 1, 1, 1)))
    np.testing.assert_allclose(y, 3.0)
    np.testing.assert_allclose(dv[0, :, 0, 0], [0, 0, 1])
    assert not np.any(dq)
    assert not np.any(dk)


def test_nan_does_not_disappear(rng):
    q, k, v = draw(rng)
    y, _, _ = run(attention(), q.at[0, 1, 2, 0].set(jnp.nan), k, v)
    assert np.isnan(y[0, 1, 2]).all()
    assert np.isfinite(y).sum() == y.size - 3


def test_the_last_blocks_may_be_shorter_and_all_agree(rng):
    x = draw(rng, n=3, t=23, s=23, heads=2, kv_heads=1)
    dy = jnp.asarray(rng.standard_normal(x[0].shape), jnp.float32)
    whole = gradients(attention(causal=True), x, dy)
    for scores in (5 * 46, 23 * 46):
        in_blocks = gradients(attention(causal=True, scores_at_once=scores), x, dy)
        for a, b in zip(jax.tree.leaves(in_blocks), jax.tree.leaves(whole), strict=True):
            np.testing.assert_allclose(a, b, atol=5e-6)


def test_plans_cover_every_query_once_within_the_limit():
    def shaped(*shape):
        return jax.ShapeDtypeStruct(shape, jnp.float32)

    for n, t, s, heads in [(32, 128, 128, 4), (1, 2048, 2048, 4), (7, 1000, 300, 3), (2, 9, 9, 1)]:
        for causal in (False, True):
            plan = blocks.plan(shaped(n, t, heads, 8), shaped(n, s, heads, 8), causal, 1.0, None)
            assert n % plan.examples == 0
            assert plan.examples * plan.queries * heads * s <= 1.1 * blocks.SCORES
            edges = [plan.segments[0].start, *(segment.stop for segment in plan.segments)]
            assert (edges[0], edges[-1]) == (0, t)
            assert [segment.start for segment in plan.segments] == edges[:-1]
            assert all(
                segment.keys == (min(segment.stop, s) if causal else s) for segment in plan.segments
            )
    long = blocks.plan(shaped(1, 2048, 4, 64), shaped(1, 2048, 4, 64), True, 1.0, None)
    assert (long.queries, len(long.segments)) == (64, 4)


def test_the_cache_grows_with_the_length_and_not_its_square():
    def bytes_of(t):
        x = tuple(jax.ShapeDtypeStruct((2, t, 4, 8), jnp.float32) for _ in range(3))
        cache = jax.eval_shape(attention().forward, (), (), x, None)[2]
        assert isinstance(cache, AttentionCache)
        return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(cache))

    assert bytes_of(64) == 4 * 2 * 64 * 4 * (4 * 8 + 1)  # q, k, v, o and one number a query
    assert bytes_of(8192) == 128 * bytes_of(64)


def test_temporary_memory_is_a_fraction_of_autodiffs():
    x = tuple(jax.ShapeDtypeStruct((1, 1024, 4, 16), jnp.float32) for _ in range(3))

    def ours(q, k, v):
        return gradients(attention(causal=True), (q, k, v), q)

    def theirs(q, k, v):
        y, pull = jax.vjp(functools.partial(jax.nn.dot_product_attention, is_causal=True), q, k, v)
        return y, pull(q)

    temp = [
        jax.jit(f).lower(*x).compile().memory_analysis().temp_size_in_bytes for f in (ours, theirs)
    ]
    assert temp[0] <= temp[1] / 5


REFUSED = {
    "two inputs": ((0, 1), ValueError, "q, k, v"),
    "a mask of floats": ((0, 1, 2, np.ones((2, 5), np.float32)), TypeError, "float32"),
    "lengths of another batch": ((0, 1, 2, np.ones(3, np.int32)), ValueError, r"\(3,\)"),
    "a mask of another length": ((0, 1, 2, np.ones((2, 4), bool)), ValueError, r"\(2, 4\)"),
    "a mask of other heads": ((0, 1, 2, np.ones((2, 3, 5, 5), bool)), ValueError, "heads"),
}


@pytest.mark.parametrize(("which", "error", "words"), REFUSED.values(), ids=REFUSED)
def test_refuses_inputs_that_do_not_fit(rng, which, error, words):
    arrays = draw(rng)
    x = tuple(arrays[i] if isinstance(i, int) else i for i in which)
    with pytest.raises(error, match=words):
        run(attention(), *x)


def test_refuses_shapes_that_do_not_fit_each_other(rng):
    q, k, v = draw(rng)
    for x in [
        (q[0], k, v),
        (q, k[:1], v),
        (q, k[:, :2], v),
        (q[..., :2], k, v),
        (q, k[:, :, :3], v[:, :, :3]),
    ]:
        with pytest.raises(ValueError, match="attention: expected"):
            run(attention(), *x)
    with pytest.raises(TypeError, match="int32"):
        run(attention(), q.astype(jnp.int32), k, v)


@pytest.mark.parametrize("options", [{"scale": math.inf}, {"scores_at_once": 0}], ids=str)
def test_refuses_bad_options(options):
    with pytest.raises(ValueError, match="attention: expected"):
        attention(**options)
