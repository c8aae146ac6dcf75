"""Embeddings: values, padding, repeated and impossible ids, dtypes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fnn import layers
from fnn.layers.embedding import EmbeddingParams


def run(layer, ids, table=None):
    params, state = layer.init(jax.random.key(0), jnp.asarray(ids))
    if table is not None:
        params = EmbeddingParams(jnp.asarray(table))
    y, _, cache = layer.forward(params, state, ids, None)
    return params, y, cache


def test_rows_and_their_gradient_by_loops(rng):
    table = rng.normal(size=(5, 3)).astype(np.float32)
    ids = np.array([[4, 0, 4], [2, 4, 0]])
    layer = layers.embedding(5, 3)
    params, y, cache = run(layer, ids, table)
    dy = rng.normal(size=(2, 3, 3)).astype(np.float32)
    expected, dtable = np.zeros((2, 3, 3), np.float32), np.zeros((5, 3), np.float32)
    for n in range(2):
        for t in range(3):
            expected[n, t] = table[ids[n, t]]
            dtable[ids[n, t]] += dy[n, t]
    np.testing.assert_array_equal(y, expected)
    dparams, dx = layer.backward(params, cache, dy)
    np.testing.assert_allclose(dparams.table, dtable, rtol=1e-6)
    assert dx is None


def test_is_a_linear_layer_of_one_hot_vectors(rng):
    ids = rng.integers(0, 6, 4)
    params, y, _ = run(layers.embedding(6, 3), ids)
    np.testing.assert_allclose(y, jax.nn.one_hot(ids, 6) @ params.table, rtol=1e-6)


@pytest.mark.parametrize("shape", [(), (3,), (2, 0), (2, 1, 2)])
def test_ids_of_any_shape(shape):
    layer = layers.embedding(4, 2)
    params, y, cache = run(layer, np.ones(shape, np.int32))
    assert y.shape == (*shape, 2)
    dparams, _ = layer.backward(params, cache, jnp.ones_like(y))
    np.testing.assert_array_equal(dparams.table[1], float(np.prod(shape)))


class TestPadding:
    def test_its_row_starts_at_zero_and_is_read_as_zero(self, rng):
        layer = layers.embedding(4, 2, padding=2)
        params, y, _ = run(layer, np.array([2, 1]))
        np.testing.assert_array_equal(params.table[2], 0)
        np.testing.assert_array_equal(y, [[0, 0], params.table[1]])
        _, y, _ = run(layer, np.array([2, 1]), rng.normal(size=(4, 2)).astype(np.float32))
        np.testing.assert_array_equal(y[0], 0)
        assert (np.asarray(y[1]) != 0).all()

    def test_its_row_never_learns(self):
        layer = layers.embedding(4, 2, padding=2)
        params, _, cache = run(layer, np.array([2, 1, 2, 3, 1]))
        dparams, _ = layer.backward(params, cache, jnp.ones((5, 2)))
        np.testing.assert_array_equal(dparams.table[:, 0], [0, 2, 0, 1])

    def test_torch_agrees(self, rng):
        torch = pytest.importorskip("torch")
        ids, dy = rng.integers(0, 4, 9), rng.normal(size=(9, 3)).astype(np.float32)
        layer = layers.embedding(4, 3, padding=1)
        params, y, cache = run(layer, ids)
        theirs = torch.nn.Embedding(4, 3, padding_idx=1)
        with torch.no_grad():
            theirs.weight.copy_(torch.tensor(np.asarray(params.table)))
        out = theirs(torch.tensor(ids))
        out.backward(torch.tensor(dy))
        np.testing.assert_array_equal(y, out.detach().numpy())
        dparams, _ = layer.backward(params, cache, dy)
        np.testing.assert_allclose(dparams.table, theirs.weight.grad.numpy(), rtol=1e-6)


class TestIdsOutOfRange:
    @pytest.mark.parametrize("bad", [-1, 5, 2**31 - 1])
    def test_raise_where_they_can_be_looked_at(self, bad):
        layer = layers.embedding(5, 2)
        with pytest.raises(ValueError, match=rf"ids in \[0, 5\), got {bad} at \(1, 0\)"):
            run(layer, np.array([[0, 1], [bad, 4]], np.int32))

    def test_a_constant_of_a_traced_function_can_be_looked_at(self):
        layer, ids = layers.embedding(5, 2), jnp.array([7])
        params, _ = layer.init(jax.random.key(0), ids)
        with pytest.raises(ValueError, match="got 7"):
            jax.jit(lambda p: layer.predict(p, (), ids))(params)

    @pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int32, np.uint32])
    def test_give_nan_and_no_gradient_inside_jit(self, dtype):
        layer = layers.embedding(5, 2)
        params, _ = layer.init(jax.random.key(0), jnp.zeros(1, jnp.int32))
        bad = -1 if np.issubdtype(dtype, np.signedinteger) else np.iinfo(dtype).max

        @jax.jit
        def both(ids):
            y, _, cache = layer.forward(params, (), ids, None)
            return y, layer.backward(params, cache, jnp.ones_like(y))[0]

        y, dparams = both(np.array([bad, 3, 5, 3], dtype))
        np.testing.assert_array_equal(np.isnan(y).all(axis=1), [True, False, True, False])
        np.testing.assert_array_equal(dparams.table[:, 0], [0, 0, 0, 2, 0])

    def test_a_narrow_integer_meets_a_large_vocabulary(self):
        _, y, _ = run(layers.embedding(300, 1), np.array([127], np.int8))
        assert np.isfinite(y).all()


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16], ids=str)
def test_narrow_tables_sum_in_float32(dtype):
    """In bfloat16, 256 + 1 is 256: a sum of ones would end there."""
    layer = layers.embedding(2, 1, dtype=dtype)
    params, y, cache = run(layer, np.zeros(1000, np.int32))
    assert y.dtype == params.table.dtype == dtype
    dparams, _ = layer.backward(params, cache, jnp.ones_like(y))
    assert dparams.table.dtype == dtype
    assert float(dparams.table[0, 0]) == 1000


def test_cache_is_the_ids():
    ids = np.zeros((3, 4), np.int32)
    leaves = jax.tree.leaves(run(layers.embedding(7, 5), ids)[2])
    assert [(leaf.shape, leaf.dtype) for leaf in leaves] == [((3, 4), jnp.int32)]


def test_starts_at_unit_variance():
    params, _ = layers.embedding(200, 50).init(jax.random.key(1), jnp.zeros(1, jnp.int32))
    assert abs(float(jnp.std(params.table)) - 1) < 0.02


@pytest.mark.parametrize("arguments", [(0, 2), (2, 0)])
def test_refuses_an_empty_table(arguments):
    with pytest.raises(ValueError, match="at least one"):
        layers.embedding(*arguments)


@pytest.mark.parametrize("padding", [-1, 4])
def test_refuses_a_padding_that_is_no_id(padding):
    with pytest.raises(ValueError, match=rf"padding in \[0, 4\), got {padding}"):
        layers.embedding(4, 2, padding=padding)


def test_refuses_a_table_of_integers():
    with pytest.raises(TypeError, match="floating dtype, got int32"):
        layers.embedding(4, 2, dtype=jnp.int32)


@pytest.mark.parametrize("x", [np.ones(3, np.float32), np.ones(3, bool)])
def test_refuses_what_is_no_integer(x):
    layer = layers.embedding(4, 2)
    with pytest.raises(TypeError, match=f"ids of integers, got {x.dtype}"):
        layer.init(jax.random.key(0), x)
    with pytest.raises(TypeError, match=f"ids of integers, got {x.dtype}"):
        layer.forward(EmbeddingParams(jnp.zeros((4, 2))), (), x, None)


def test_refuses_another_table():
    with pytest.raises(ValueError, match=r"a table \(4, 2\), got \(5, 2\)"):
        run(layers.embedding(4, 2), np.zeros(3, np.int32), np.zeros((5, 2), np.float32))
