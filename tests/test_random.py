"""Draws without compilation are `jax.random`'s own."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from selection import compiled

from fnn import random

SHAPES = [(), (1,), (7,), (5, 7, 3), (300, 100), (0, 3)]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_normal_is_jax_randoms(key, shape):
    got, expected = random.normal(key, shape, stddev=2.0), 2.0 * jax.random.normal(key, shape)
    # The bits are equal; the logarithm and the root may differ in the last places.
    np.testing.assert_allclose(got, expected, rtol=5e-7, atol=1e-12)
    assert got.dtype == expected.dtype


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_uniform_is_jax_randoms_bit_for_bit(key, shape):
    np.testing.assert_array_equal(random.uniform(key, shape), jax.random.uniform(key, shape))
    np.testing.assert_allclose(
        random.uniform(key, shape, jnp.float32, -0.3, 0.7),
        jax.random.uniform(key, shape, jnp.float32, -0.3, 0.7),
        atol=6e-8,
    )


def test_the_tails_are_there(key):
    """A million draws reach beyond 4.5 standard deviations, where the second polynomial begins."""
    drawn = np.asarray(random.normal(key, (1_000_000,)))
    assert drawn.max() > 4.5
    assert drawn.min() < -4.5
    assert abs(drawn.std() - 1) < 5e-3


def test_traced_keys_draw_the_same(key):
    def draw(key):
        return random.normal(random.child_key(key, "hidden"), (4, 3))

    np.testing.assert_allclose(jax.jit(draw)(key), draw(key), rtol=5e-7)
    keys = jax.random.split(key, 3)
    together = jax.vmap(draw)(keys)
    np.testing.assert_allclose(together, jnp.stack([draw(k) for k in keys]), rtol=5e-7)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16], ids=str)
def test_narrow_dtypes_are_jax_randoms(key, dtype):
    np.testing.assert_array_equal(
        random.normal(key, (5,), dtype), jax.random.normal(key, (5,), dtype)
    )


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16, jnp.float16], ids=str)
def test_a_numpy_deviation_does_not_widen(key, dtype):
    drawn = random.normal(key, (5,), dtype, np.sqrt(0.01))
    assert drawn.dtype == dtype
    np.testing.assert_array_equal(drawn, random.normal(key, (5,), dtype, 0.1))


def test_the_flag_of_unpartitionable_draws_is_obeyed(key):
    """Other bits belong to it, which `jax.random` has to draw."""
    with jax.threefry_partitionable(False):
        drawn, expected = random.uniform(key, (7, 3)), jax.random.uniform(key, (7, 3))
    np.testing.assert_array_equal(drawn, expected)
    assert not np.array_equal(drawn, random.uniform(key, (7, 3)))


def test_other_key_implementations_are_jax_randoms():
    key = jax.random.key(3, impl="rbg")
    np.testing.assert_array_equal(random.normal(key, (5,)), jax.random.normal(key, (5,)))
    assert random.child_key(key, "a").dtype == key.dtype


def test_child_keys_depend_on_the_name_alone(key):
    import zlib

    child = random.child_key(key, "hidden")
    expected = jax.random.fold_in(key, zlib.crc32(b"hidden"))
    np.testing.assert_array_equal(jax.random.key_data(child), jax.random.key_data(expected))
    old_style = jax.random.key_data(key)
    np.testing.assert_array_equal(
        random.child_key(old_style, "hidden"), jax.random.key_data(expected)
    )
    assert random.child_key(None, "hidden") is None


def test_nothing_is_compiled(key):
    """The point of it: a fresh shape costs no compilation."""
    random.normal(key, (3,))
    assert compiled(lambda: random.normal(random.child_key(key, "w"), (11, 13))) == []
    assert compiled(lambda: jax.random.normal(key, (11, 14)))  # or this test could not fail


@pytest.mark.parametrize("ends", [(-2.0, 2.0), (0.5, 3.0)])
def test_truncated_normal_is_jax_randoms(key, ends):
    drawn = random.truncated_normal(key, (40, 30), jnp.float32, *ends)
    expected = jax.random.truncated_normal(key, *ends, (40, 30))
    np.testing.assert_allclose(drawn, expected, rtol=1e-5, atol=1e-6)
    assert ends[0] < drawn.min() < drawn.max() < ends[1]
    traced = jax.jit(lambda k: random.truncated_normal(k, (4,), jnp.float32, *ends))(key)
    np.testing.assert_allclose(
        traced, random.truncated_normal(key, (4,), jnp.float32, *ends), rtol=1e-5
    )
