"""The eigenvalues of a symmetric matrix, in a program that may ask for many of them at once.

Not by LAPACK on a CPU: there, a decomposition waits in a thread of XLA's pool for work that it gives to
the same pool, so that as many of them as there are threads, side by side in one program, wait for each
other for ever (jaxlib 0.10; a pass over a convnet on two cores stood still within minutes). Here the
matrix becomes tridiagonal by reflections, and its eigenvalues are found by bisection.
Source: Householder (1958); Givens (1954); Barth, Martin, Wilkinson (1967).
"""

import jax
import jax.numpy as jnp
from jax import lax

from fnn.layer import Array


def symmetric_eigenvalues(matrix: Array) -> Array:
    """(C,) eigenvalues of a finite symmetric matrix (C, C), from the least to the largest.

    Each is right to some ``eps · C`` times the largest in size. Jittable, of float32 or float64.
    """
    return lax.platform_dependent(matrix, cpu=_by_bisection, default=jnp.linalg.eigvalsh)


def _by_bisection(matrix: Array) -> Array:
    size = jnp.abs(matrix).max()
    scale = jnp.where(size > 0, size, 1)  # so that no square overflows
    return bisected(*tridiagonal(matrix / scale)) * scale


def tridiagonal(matrix: Array) -> tuple[Array, Array]:
    """The diagonal (C,) and the one beside it (C - 1,) of a matrix with the same eigenvalues.

    Reflection k takes what is below the first subdiagonal out of column k:

        v = x - α e_{k+1},  x = column k below its diagonal,  α = -sign(x_{k+1}) ‖x‖
        A ← H A H = A - v wᵀ - w vᵀ,  H = I - β v vᵀ,  β = 2 / ‖v‖²,  w = β A v - (β²/2) (vᵀA v) v
    """
    count = matrix.shape[0]
    rows = jnp.arange(count)

    def reflected(k: Array, a: Array) -> Array:
        x = jnp.where(rows > k, a[:, k], 0)
        length = jnp.sqrt((x * x).sum())
        v = jnp.where(rows == k + 1, x + jnp.where(x[k + 1] < 0, -length, length), x)
        square = (v * v).sum()
        beta = jnp.where(square > 0, 2 / jnp.where(square > 0, square, 1), 0)
        p = beta * jnp.matmul(a, v, precision=lax.Precision.HIGHEST)
        w = p - beta / 2 * (p * v).sum() * v
        return a - v[:, None] * w[None] - w[:, None] * v[None]

    a = jax.lax.fori_loop(0, max(count - 2, 0), reflected, matrix)
    return jnp.diagonal(a), jnp.diagonal(a, 1)


def bisected(diagonal: Array, beside: Array) -> Array:
    """The eigenvalues (C,) of a tridiagonal matrix, in order; all are sought side by side.

    By Sylvester, as many eigenvalues lie below x as there are negative pivots in

        q_1 = d_1 - x,  q_i = d_i - x - e_{i-1}² / q_{i-1}

    Not `jax.scipy.linalg.eigh_tridiagonal`, which does the same, but takes half a second to compile.
    """
    dtype, count = diagonal.dtype, diagonal.shape[0]
    squares = jnp.concatenate([jnp.zeros(1, dtype), beside * beside])
    least = jnp.finfo(dtype).tiny ** 0.5  # for a pivot of 0, as if x were a little larger
    around = jnp.abs(jnp.concatenate([beside, jnp.zeros(1, dtype)])) + jnp.sqrt(squares)
    low, high = (diagonal - around).min(), (diagonal + around).max()  # Gershgorin
    places = jnp.arange(count, dtype=jnp.int32)

    def below(x: Array) -> Array:
        """How many eigenvalues are less than each of x."""

        def pivot(
            carry: tuple[Array, Array], entry: tuple[Array, Array]
        ) -> tuple[tuple[Array, Array], None]:
            q, found = carry
            d, square = entry
            q = d - x - square / q
            q = jnp.where(jnp.abs(q) < least, -least, q)
            return (q, found + (q < 0).astype(found.dtype)), None

        start = jnp.ones_like(x), jnp.zeros(x.shape, jnp.int32)
        return lax.scan(pivot, start, (diagonal, squares))[0][1]

    def halved(_: Array, bounds: tuple[Array, Array]) -> tuple[Array, Array]:
        low, high = bounds
        middle = (low + high) / 2
        left = below(middle) > places
        return jnp.where(left, low, middle), jnp.where(left, middle, high)

    bounds = jnp.full(count, low, dtype), jnp.full(count, high, dtype)
    halvings = (
        jnp.finfo(dtype).nmant + 4
    )  # of an interval a few times as wide as the largest in size
    low, high = lax.fori_loop(0, halvings, halved, bounds)
    return (low + high) / 2
