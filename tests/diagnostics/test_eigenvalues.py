"""Eigenvalues without LAPACK, against NumPy's, and many of them at once in one program."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fnn.diagnostics.eigenvalues import symmetric_eigenvalues, tridiagonal


def symmetric(n, seed=0, dtype=np.float64):
    a = np.random.default_rng(seed).standard_normal((n, n))
    return ((a + a.T) / 2).astype(dtype)


def of_rank(n, rank):
    a = np.random.default_rng(1).standard_normal((n, rank))
    return a @ a.T


MATRICES = {
    "one": np.array([[3.0]]),
    "two": np.array([[1.0, 2.0], [2.0, -1.0]]),
    "zero": np.zeros((5, 5)),
    "identity": np.eye(6),
    "diagonal": np.diag([3.0, -1.0, 2.0, 0.0]),
    "tridiagonal": np.diag([1.0, 2.0, 3.0]) + np.diag([0.5, 0.0], 1) + np.diag([0.5, 0.0], -1),
    "random": symmetric(23),
    "low rank": of_rank(20, 3),
    "huge": symmetric(7) * 1e300,
    "tiny": symmetric(7) * 1e-300,
    "ones": np.ones((9, 9)),
}


@pytest.mark.parametrize("name", MATRICES)
def test_they_are_numpys(name):
    matrix = MATRICES[name]
    expected = np.linalg.eigvalsh(matrix)
    with jax.enable_x64(True):
        found = np.asarray(symmetric_eigenvalues(jnp.asarray(matrix)))
    size = np.abs(expected).max()
    np.testing.assert_allclose(found, expected, rtol=0, atol=size * 1e-14 * len(matrix))


@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e30])
def test_in_float32_too(scale):
    matrix = symmetric(40, dtype=np.float32) * np.float32(scale)
    expected = np.linalg.eigvalsh(matrix.astype(np.float64))
    found = symmetric_eigenvalues(jnp.asarray(matrix))
    assert found.dtype == jnp.float32
    atol = 40 * np.finfo(np.float32).eps * np.abs(expected).max()
    np.testing.assert_allclose(found, expected, rtol=0, atol=atol)


def test_the_tridiagonal_matrix_is_the_same_one_turned():
    matrix = symmetric(12)
    with jax.enable_x64(True):
        diagonal, beside = map(np.asarray, tridiagonal(jnp.asarray(matrix)))
    turned = np.diag(diagonal) + np.diag(beside, 1) + np.diag(beside, -1)
    np.testing.assert_allclose(
        [np.trace(np.linalg.matrix_power(turned, p)) for p in (1, 2, 3)],
        [np.trace(np.linalg.matrix_power(matrix, p)) for p in (1, 2, 3)],
        rtol=1e-12,
    )


def test_no_decomposition_waits_for_another():
    def many(matrices):
        return [symmetric_eigenvalues(a) for a in matrices]

    compiled = jax.jit(many).lower([jnp.eye(4)] * 3).compile().as_text()
    assert "lapack" not in compiled
