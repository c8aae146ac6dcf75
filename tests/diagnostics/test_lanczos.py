"""Lanczos against matrices whose eigenvalues are known, and traces in closed form."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fnn.diagnostics.lanczos import hutch_plus_plus, hutchinson, lanczos, trace_of

SPREAD = np.array([-3.0, -1.0, *np.linspace(-0.5, 0.5, 34), 2.0, 4.0, 7.0])


@functools.cache
def matrix_of(values):
    """Symmetric, with these eigenvalues, and the orthonormal eigenvectors as columns."""
    values = np.array(values)
    rng = np.random.default_rng(len(values))
    vectors = np.linalg.qr(rng.normal(size=(len(values), len(values))))[0]
    return vectors * values @ vectors.T, vectors


@functools.partial(jax.jit, static_argnames=("steps", "tolerance", "count"))
def run(matrix, start, steps, tolerance=0.0, count=1):
    def product(v):
        return jnp.matmul(matrix, v, precision="highest")

    return lanczos(product, start, steps, tolerance=tolerance, count=count)


def of(values, steps, dtype=np.float32, start=None, **options):
    matrix, _ = matrix_of(tuple(values))
    if start is None:
        start = np.random.default_rng(7).normal(size=len(values))
    return run(jnp.asarray(matrix, dtype), jnp.asarray(start, dtype), steps, **options)


@pytest.mark.parametrize(("dtype", "close"), [(np.float32, 1e-5), (np.float64, 1e-12)])
def test_the_outermost_eigenvalues_are_found(dtype, close):
    with jax.enable_x64(dtype == np.float64):
        found = of(SPREAD, 30, dtype)
        values, bounds = found.highest(3)
        np.testing.assert_allclose(values, [7, 4, 2], rtol=close)
        np.testing.assert_allclose(found.values[0], -3, rtol=close)
        assert values.dtype == dtype
        assert (bounds <= 100 * close).all()
        assert int(found.steps) == 30
        assert (np.diff(found.values) > 0).all()


def test_no_eigenvalue_is_found_twice_in_float32():
    values = [*np.linspace(0, 1, 59), 1e4]
    found = of(values, 40)
    assert (np.asarray(found.values) > 10).sum() == 1
    np.testing.assert_allclose(found.highest(1)[0], 1e4, rtol=1e-6)
    q = np.asarray(found.basis)
    np.testing.assert_allclose(q @ q.T, np.eye(40), atol=1e-5)


@pytest.mark.parametrize("steps", [1, 2, 7])
def test_an_eigenvalue_lies_within_each_bound(steps):
    found = of(SPREAD, steps)
    for value, bound in zip(found.values, found.bounds, strict=True):
        assert np.abs(SPREAD - float(value)).min() <= float(bound) * (1 + 1e-4) + 1e-5
    assert found.bounds.max() > 0.01  # so early, this says something


def test_eigenvectors():
    found = of(SPREAD, 39)
    _, vectors = matrix_of(tuple(SPREAD))
    overlap = np.abs(np.asarray(found.vectors(3)) @ vectors)
    np.testing.assert_allclose(overlap[[0, 1, 2], [-1, -2, -3]], 1, atol=1e-5)
    assert found.vectors(3).shape == (3, 39)


def test_an_exhausted_space_ends_it():
    values = np.array([0.0] * 9 + [-2.0, 5.0])
    found = of(values, 8)
    assert int(found.steps) == 3
    np.testing.assert_allclose(found.values[:3], [-2, 0, 5], atol=1e-5)
    assert np.isnan(found.values[3:]).all()
    np.testing.assert_array_equal(found.bounds[:3], 0)
    np.testing.assert_array_equal(found.weights[3:], 0)
    top, _ = found.highest(4)
    assert np.isnan(top[3])
    np.testing.assert_array_equal(found.vectors(4)[3], 0)
    for other, value in ((np.zeros(5), 0), (np.ones(5), 1), (np.array([3.0]), 3)):
        alone = of(other, 4)
        assert int(alone.steps) == 1
        np.testing.assert_allclose(alone.values[0], value, atol=1e-6)


def test_a_direction_that_the_start_lacks_is_not_found():
    _, vectors = matrix_of(tuple(SPREAD))
    with jax.enable_x64(True):
        found = of(SPREAD, 5, np.float64, start=vectors[:, 0] + vectors[:, -2])
    np.testing.assert_allclose(found.values[: int(found.steps)], [-3, 4], rtol=1e-12)


def test_it_ends_when_the_wanted_values_are_exact_enough():
    found = of(SPREAD, 39, tolerance=1e-2, count=2)
    finer = of(SPREAD, 39, tolerance=1e-5, count=2)
    assert 3 <= int(found.steps) < int(finer.steps) < 39
    crowded = of([*np.linspace(0, 1, 37), 40, 50], 39, tolerance=1e-5, count=2)
    assert crowded.bounds[0] <= 5.01e-4  # the smallest, which converges last
    values, bounds = found.highest(2)
    np.testing.assert_allclose(values, [7, 4], atol=7e-2)
    assert max(*bounds, found.bounds[0]) <= 7.0001e-2


def test_the_weights_integrate_polynomials():
    start = np.random.default_rng(3).normal(size=len(SPREAD))
    unit = start / np.linalg.norm(start)
    matrix, _ = matrix_of(tuple(SPREAD))
    with jax.enable_x64(True):
        found = of(SPREAD, 4, np.float64, start=start)
    weights, values = np.asarray(found.weights), np.asarray(found.values)
    for degree in range(8):  # 2 k - 1 = 7
        exact = unit @ np.linalg.matrix_power(matrix, degree) @ unit
        assert (weights * values**degree).sum() == pytest.approx(exact, rel=1e-9)


def test_what_is_not_finite_stays_so_and_ends():
    found = run(jnp.full((5, 5), jnp.nan), jnp.ones(5), 4)
    assert int(found.steps) == 1
    for array in (found.values, found.bounds, found.weights):
        assert np.isnan(array).all()


def test_the_trace_is_exact_for_a_basis_and_for_a_diagonal(rng):
    matrix = jnp.asarray(matrix_of(tuple(SPREAD))[0], jnp.float32)
    n = len(SPREAD)
    basis = jnp.asarray(np.sqrt(n) * np.linalg.qr(rng.normal(size=(n, n)))[0], jnp.float32)
    found = hutchinson(lambda v: jnp.matmul(matrix, v, precision="highest"), basis)
    np.testing.assert_allclose(found.value, SPREAD.sum(), rtol=1e-5)
    diagonal = jnp.asarray(SPREAD, jnp.float32)
    signs = jnp.asarray(rng.choice([-1.0, 1.0], size=(3, n)), jnp.float32)
    found = hutchinson(lambda v: diagonal * v, signs)
    np.testing.assert_allclose(found.samples, SPREAD.sum(), rtol=1e-5)
    np.testing.assert_allclose(found.standard_error, 0, atol=1e-5)


def test_a_sketch_makes_the_trace_exact_where_a_few_eigenvalues_are_large(rng):
    low = matrix_of((0.0,) * 17 + (-2.0, 5.0, 90.0))[0]
    sketch, probes = (jnp.asarray(rng.choice([-1.0, 1.0], size=(3, 20)), jnp.float32) for _ in "12")

    def trace(matrix, sketch, probes):
        matrix = jnp.asarray(matrix, jnp.float32)
        return hutch_plus_plus(lambda v: jnp.matmul(matrix, v, precision="highest"), sketch, probes)

    run = jax.jit(trace)
    found = run(low, sketch, probes)
    np.testing.assert_allclose(found.samples, 93, rtol=1e-4)
    # With a tail: the exact part is tr QᵀAQ of the space that the sketch makes, the rest an estimate.
    full = low + 0.1 * matrix_of(tuple(SPREAD[:20]))[0]
    found = run(full, sketch, probes)
    q = np.linalg.qr(full @ np.asarray(sketch, np.float64).T)[0]
    beside = np.asarray(probes, np.float64) @ (np.eye(20) - q @ q.T)
    exact = np.trace(q.T @ full @ q) + np.einsum("mi,ij,mj->m", beside, full, beside)
    np.testing.assert_allclose(found.samples, exact, rtol=1e-4)
    np.testing.assert_allclose(found.value, exact.mean(), rtol=1e-4)


def test_the_standard_error_is_that_of_a_mean(rng):
    samples = rng.normal(size=9).astype(np.float32)
    found = trace_of(jnp.asarray(samples))
    np.testing.assert_allclose(found.standard_error, samples.std(ddof=1) / 3, rtol=1e-5)
    np.testing.assert_allclose(found.value, samples.mean(), rtol=1e-5)
    assert np.isnan(trace_of(jnp.ones(1)).standard_error)
    assert str(trace_of(jnp.asarray([1.0, 3.0]))) == "trace 2 ± 1, 2 probes"


def test_what_is_refused():
    for start, options in (
        (jnp.ones((2, 2)), {"steps": 3}),
        (jnp.ones(0), {"steps": 3}),
        (jnp.ones(3), {"steps": 0}),
        (jnp.ones(3), {"steps": 2, "count": 3}),
        (jnp.ones(3), {"steps": 2, "count": 0}),
        (jnp.ones(3), {"steps": 2, "tolerance": -1.0}),
    ):
        with pytest.raises(ValueError, match="lanczos: expected"):
            lanczos(lambda v: v, start, **options)
    for probes in (jnp.ones(3), jnp.ones((0, 3))):
        with pytest.raises(ValueError, match=r"expected probes \(m, n\)"):
            hutchinson(lambda v: v, probes)
        with pytest.raises(ValueError, match=r"expected a sketch \(s, n\) and probes"):
            hutch_plus_plus(lambda v: v, jnp.ones((2, 3)), probes)
