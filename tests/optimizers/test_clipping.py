"""Clipping against closed forms, at the ends of the range of float32."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fnn.optimizers import (
    clip_adaptively,
    clip_by_global_norm,
    clip_by_norm,
    clip_by_value,
    with_hyperparameters,
)
from fnn.optimizers.norms import norm, unit_norms

NORMS = {"each": clip_by_norm, "global": clip_by_global_norm}


def clip(transform, grads, params=None):
    params = grads if params is None else params
    return transform.update(grads, transform.init(params), params)[0]


def exact(array):
    return np.linalg.norm(np.asarray(array, np.float64))


def test_by_value_bounds_each_element():
    got = clip(clip_by_value(1.0), jnp.asarray([-3.0, -0.5, 0.0, 2.0, np.inf, -np.inf, np.nan]))
    np.testing.assert_array_equal(got, [-1, -0.5, 0, 1, 1, -1, np.nan])


@pytest.mark.parametrize("build", NORMS.values(), ids=NORMS)
@pytest.mark.parametrize("size", [1e-44, 1e-38, 1e-20, 1e-3, 1.0, 1e10, 1e19, 1e30, 3e38])
def test_the_direction_stays_and_the_norm_is_the_limit(build, size):
    """Squares of float32 overflow above 1.8e19, the norm itself at 3.4e38."""
    g = jnp.asarray(np.asarray([3.0, -2.0, 1.0, 3.0]) / 3 * size, jnp.float32)
    before, limit = exact(g), 1e-2
    got = np.asarray(clip(build(limit), g), np.float64)
    if before <= limit:
        # As it is; but a processor may take what is smaller than its normal numbers for 0.
        np.testing.assert_allclose(got, np.asarray(g), rtol=0, atol=1.2e-38)
    else:
        np.testing.assert_allclose(exact(got), limit, rtol=1e-5)
        np.testing.assert_allclose(got, np.asarray(g, np.float64) / before * limit, rtol=1e-5)


def test_each_takes_every_array_by_itself_and_global_all_together():
    grads = {"a": jnp.asarray([3.0, 4.0]), "b": jnp.asarray([12.0]), "c": jnp.asarray([0.5])}
    each = clip(clip_by_norm(1.0), grads)
    np.testing.assert_allclose(each["a"], [0.6, 0.8], rtol=1e-6)
    np.testing.assert_allclose(each["b"], [1.0], rtol=1e-6)
    np.testing.assert_array_equal(each["c"], [0.5])
    together = clip(clip_by_global_norm(1.0), grads)
    total = np.sqrt(25 + 144 + 0.25)
    np.testing.assert_allclose(together["a"], np.asarray([3, 4]) / total, rtol=1e-6)
    np.testing.assert_allclose(together["c"], [0.5 / total], rtol=1e-6)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_norm_that_is_not_finite_shows_everywhere_it_is_used(bad):
    grads = {"a": jnp.asarray([1.0, bad]), "b": jnp.asarray([1.0])}
    together = clip(clip_by_global_norm(1.0), grads)
    assert np.isnan(together["a"]).all()
    assert np.isnan(together["b"]).all()
    each = clip(clip_by_norm(1.0), grads)
    assert np.isnan(each["a"]).all()
    np.testing.assert_array_equal(each["b"], [1.0])


def test_low_precision_is_measured_in_float32():
    """A sum of 4,096 ones in bfloat16 would stop at 256."""
    g = jnp.ones(4096, jnp.bfloat16)
    got = clip(clip_by_global_norm(1.0), g)
    assert got.dtype == jnp.float32
    np.testing.assert_allclose(got, 1 / 64, rtol=1e-6)


def test_arrays_of_two_dtypes_have_one_norm():
    with jax.enable_x64(True):
        grads = {"a": jnp.asarray([3.0], jnp.float32), "b": jnp.asarray([4.0], jnp.float64)}
        got = clip(clip_by_global_norm(1.0), grads)
        assert (got["a"].dtype, got["b"].dtype) == (jnp.float32, jnp.float64)
        np.testing.assert_allclose(got["b"], [0.8], rtol=1e-14)


@pytest.mark.parametrize("shape", [(), (5,), (4, 3), (3, 3, 2, 4), (2, 4, 3)])
def test_adaptive_is_unit_wise(shape, rng):
    """Against loops over the units: the last axis of a matrix or kernel, or the one of a vector."""
    p, g = (rng.normal(size=shape).astype(np.float32) for _ in range(2))
    limit, eps = 0.2, 1e-3
    if len(shape) > 1:
        p[..., 0] = 0  # a unit whose weights are 0 may move by limit · eps
    got = clip(clip_adaptively(limit, eps), jnp.asarray(g), jnp.asarray(p))
    expected = np.array(g, np.float64)
    units = [(..., i) for i in range(shape[-1])] if len(shape) > 1 else [...]
    for unit in units:
        most = limit * max(exact(p[unit]), eps)
        if exact(g[unit]) > most:
            expected[unit] = g[unit] * (most / exact(g[unit]))
    np.testing.assert_allclose(got, expected, rtol=1e-5)


def test_adaptive_along_another_axis(rng):
    p, g = (jnp.asarray(rng.normal(size=(3, 4)), jnp.float32) for _ in range(2))
    got = clip(clip_adaptively(0.1, axis=1), g, p)
    np.testing.assert_allclose(got, clip(clip_adaptively(0.1), g.T, p.T).T, rtol=1e-6)


def test_the_limit_is_changed_in_the_state():
    transform, g = clip_by_global_norm(1.0), jnp.asarray([3.0, 4.0])
    state = with_hyperparameters(transform.init(g), limit=0.5)
    np.testing.assert_allclose(transform.update(g, state, g)[0], [0.3, 0.4], rtol=1e-6)


@pytest.mark.parametrize("build", [clip_by_value, clip_adaptively, *NORMS.values()])
@pytest.mark.parametrize("limit", [-1.0, np.inf, np.nan])
def test_limits_that_are_none(build, limit):
    with pytest.raises(ValueError, match="limit finite and at least 0, got"):
        build(limit)


def test_norms_are_a_product_that_cannot_overflow():
    huge = jnp.full((2, 8), 3e38, jnp.float32)
    for m, r in (norm([huge]), unit_norms(huge)):
        assert np.isfinite(m).all()
        assert np.isfinite(r).all()
    m, r = norm([huge, jnp.ones(3)])
    np.testing.assert_allclose(float(m) * float(r), exact(huge), rtol=1e-6)
    assert [float(x) for x in norm([])] == [1.0, 0.0]


@pytest.mark.parametrize("build", NORMS.values(), ids=NORMS)
def test_float32_stays_float32_where_jax_has_float64(build):
    with jax.enable_x64(True):
        got = clip(build(1.0), jnp.asarray([3.0, 4.0], jnp.float32))
        assert got.dtype == jnp.float32
        np.testing.assert_allclose(got, [0.6, 0.8], rtol=1e-6)
