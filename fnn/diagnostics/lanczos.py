"""Eigenvalues, trace and spectrum of a symmetric matrix that is known by its products alone.

Lanczos: from a unit vector q_1, the part of A q_j that is orthogonal to all q before it is β_j q_{j+1},
and α_j = q_jᵀ A q_j. In the basis q_1 … q_k, A is tridiagonal, T = tridiag(α, β); its eigenvalues θ_i,
the Ritz values, approach those of A, the outermost first. With s_i the eigenvectors of T, an eigenvalue
of A lies within |β_k s_ik| of θ_i. Rounding spoils the orthogonality of the q just when one converges,
so each is made orthogonal to all before it, twice; no eigenvalue is then found a second time, in float32
either. An eigenvalue that A has several times is found once.

Trace: the mean of vᵀ A v over random v with E v vᵀ = 1. Density: for one v, the s_i1² are weights of the
θ_i with which Σ w_i f(θ_i) = vᵀ f(A) v / vᵀ v for polynomials f up to degree 2 k - 1.

Source: Lanczos (1950); Paige (1980); Hutchinson (1990); Golub, Welsch (1969); Ghorbani, Krishnan, Xiao
(2019).
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from fnn.layer import Array

Product = Callable[[Array], Array]  # v (n,) -> A v (n,)
_HIGHEST = jax.lax.Precision.HIGHEST


class Lanczos(NamedTuple):
    """The Ritz values, ascending; where fewer steps were made than allowed, NaN after them.

    Attributes:
      values: (k,).
      bounds: (k,), how far off an eigenvalue may be, but for rounding.
      weights: (k,), s_i1², of sum 1; 0 after the steps that were made.
      steps: (), how many were made.
      basis: (k, n), the q; 0 after those.
      mixing: (k, k), column i is s_i.
    """

    values: Array
    bounds: Array
    weights: Array
    steps: Array
    basis: Array
    mixing: Array

    def highest(self, count: int) -> tuple[Array, Array]:
        """(values, bounds) of the `count` largest, descending; NaN where there are fewer."""
        places = self._places(count)

        def taken(found: Array) -> Array:
            return jnp.where(places >= 0, found[jnp.maximum(places, 0)], jnp.nan)

        return taken(self.values), taken(self.bounds)

    def vectors(self, count: int) -> Array:
        """(count, n), the unit Ritz vectors of the largest values; 0 where there are fewer."""
        places = self._places(count)
        chosen = jnp.where(places >= 0, self.mixing[:, jnp.maximum(places, 0)], 0)
        return jnp.matmul(chosen.T, self.basis, precision=_HIGHEST)

    def _places(self, count: int) -> Array:
        return self.steps - 1 - jnp.arange(count)


class _Run(NamedTuple):
    step: Array
    next: Array
    basis: Array
    alpha: Array
    beta: Array
    done: Array


def lanczos(
    product: Product, start: Array, steps: int, *, tolerance: float = 0.0, count: int = 1
) -> Lanczos:
    """The Ritz values of a symmetric matrix; see this module. Pure and jittable.

    Args:
      product: A v for v of the shape and dtype of `start`. It is traced once.
      start: (n,), where to begin; not 0. A direction that it has nothing of is not found.
      steps: at most, one product each; no more than n are made. Memory: as many vectors.
      tolerance: end as soon as the bounds of the `count` largest values and of the smallest are within
        this share of the largest magnitude; with 0, all steps are made (or the space that `start` can
        reach is exhausted, when the values are exact).
      count: see `tolerance`.

    Raises:
      ValueError: `start` is no vector, no step, a count that is not in 1 … steps, or a tolerance below 0.
    """
    if start.ndim != 1 or start.size == 0:
        raise ValueError(f"lanczos: expected a vector to start from, got shape {start.shape}")
    if steps < 1 or not 1 <= count <= steps or tolerance < 0:
        raise ValueError(
            "lanczos: expected 1 <= count <= steps and a tolerance of 0 or more, got "
            f"count {count}, steps {steps}, tolerance {tolerance}"
        )
    steps = min(steps, start.size)
    dtype = start.dtype
    tiny = 64 * jnp.finfo(dtype).eps  # what the rounding of a product leaves

    def once(run: _Run) -> _Run:
        basis = run.basis.at[run.step].set(run.next)
        image = product(run.next)
        alpha = run.alpha.at[run.step].set(_dot(run.next, image))
        for _ in range(2):
            image = image - jnp.matmul(
                jnp.matmul(basis, image, precision=_HIGHEST), basis, precision=_HIGHEST
            )
        size = jnp.sqrt(_dot(image, image))
        beta = run.beta.at[run.step].set(size)
        scale = (jnp.abs(alpha) + beta).max()
        exhausted = ~(size > tiny * scale)  # so that NaN ends it too
        beta = beta.at[run.step].set(jnp.where(size <= tiny * scale, 0, size))
        made = run.step + 1
        after = image / jnp.where(exhausted, 1, size)
        done = exhausted
        if tolerance:
            done |= _converged(_ritz(alpha, beta, made, basis), count, tolerance)
        return _Run(made, after, basis, alpha, beta, done)

    nothing = jnp.zeros(steps, dtype)
    first = _Run(
        jnp.asarray(0),
        start / jnp.sqrt(_dot(start, start)),
        jnp.zeros((steps, start.size), dtype),
        nothing,
        nothing,
        jnp.asarray(False),
    )
    run = jax.lax.while_loop(lambda run: (run.step < steps) & ~run.done, once, first)
    return _ritz(run.alpha, run.beta, run.step, run.basis)


def _ritz(alpha: Array, beta: Array, made: Array, basis: Array) -> Lanczos:
    """The decomposition of T as far as it is made."""
    steps = alpha.shape[0]
    active = jnp.arange(steps) < made
    # What is not made yet is decoupled, and larger than all eigenvalues, so that it comes after them.
    beyond = 4 * (jnp.abs(alpha) + beta).max() + 1
    finite = jnp.isfinite(beyond)  # a decomposition of NaN may not end
    between = jnp.where(active[1:] & finite, beta[:-1], 0)
    middle = jnp.where(finite, jnp.where(active, alpha, beyond), 0)
    matrix = jnp.diag(middle) + jnp.diag(between, 1) + jnp.diag(between, -1)
    values, mixing = jnp.linalg.eigh(matrix)
    last = made - 1
    there = active & finite
    return Lanczos(
        jnp.where(there, values, jnp.nan),
        jnp.where(there, beta[last] * jnp.abs(mixing[last]), jnp.nan),
        jnp.where(there, jnp.square(mixing[0]), jnp.where(finite, 0, jnp.nan)),
        made,
        basis,
        jnp.where(there[None], mixing, 0),
    )


def _converged(found: Lanczos, count: int, tolerance: float) -> Array:
    size = jnp.nanmax(jnp.abs(found.values))
    bounds = jnp.concatenate([found.highest(count)[1], found.bounds[:1]])
    return (bounds <= tolerance * size).all()  # NaN, as long as there are too few, is not


class Trace(NamedTuple):
    """An estimate of a trace.

    Attributes:
      value: the estimate.
      standard_error: of the estimate; NaN for a single probe.
      samples: (m,), vᵀ A v of each.
    """

    value: Array
    standard_error: Array
    samples: Array

    def __str__(self) -> str:
        return (
            f"trace {float(self.value):.5g} ± {float(self.standard_error):.2g}, "
            f"{self.samples.shape[0]} probes"
        )


def hutchinson(product: Product, probes: Array) -> Trace:
    """The trace of a symmetric matrix, from probes (m, n), one product each, one after another.

    Exact for a diagonal matrix and probes of ±1, and for probes that are √n times an orthonormal basis.

    Raises:
      ValueError: the probes are not of shape (m, n), with one at least.
    """
    if probes.ndim != 2 or 0 in probes.shape:
        raise ValueError(f"hutchinson: expected probes (m, n), one at least, got {probes.shape}")
    return trace_of(jax.lax.map(lambda v: _dot(v, product(v)), probes))


def hutch_plus_plus(product: Product, sketch: Array, probes: Array) -> Trace:
    """The trace, exact on the space of A times the rows of `sketch` (s, n), and estimated beside it.

    With Q an orthonormal basis of that space and P = 1 - Q Qᵀ: tr QᵀAQ + the mean of (P v)ᵀ A (P v).
    Where a few eigenvalues are far larger than the others, which is how Hessians of networks are, its
    variance is far smaller than that of `hutchinson`. 2 s + m products. Source: Meyer, Musco, Musco,
    Woodruff (2021).

    Raises:
      ValueError: sketch or probes are not of shapes (s, n) and (m, n), with one row at least.
    """
    if sketch.ndim != 2 or probes.ndim != 2 or 0 in (*sketch.shape, *probes.shape):
        raise ValueError(
            "hutch_plus_plus: expected a sketch (s, n) and probes (m, n), one row at least, got "
            f"{sketch.shape} and {probes.shape}"
        )
    basis = jnp.linalg.qr(jax.lax.map(product, sketch).T)[0].T

    def inside(v: Array) -> Array:
        return _dot(v, product(v))

    def beside(v: Array) -> Array:
        for _ in range(2):
            v = v - jnp.matmul(jnp.matmul(basis, v, precision=_HIGHEST), basis, precision=_HIGHEST)
        return inside(v)

    exact = jax.lax.map(inside, basis).sum()
    return trace_of(exact + jax.lax.map(beside, probes))


def trace_of(samples: Array) -> Trace:
    """The mean of (m,) independent samples, and its standard error."""
    count = samples.shape[0]
    mean = samples.mean()
    if count == 1:
        return Trace(mean, jnp.full_like(mean, jnp.nan), samples)
    variance = jnp.square(samples - mean).sum() / (count - 1)
    return Trace(mean, jnp.sqrt(variance / count), samples)


def _dot(a: Array, b: Array) -> Array:
    return jnp.vdot(a, b, precision=_HIGHEST)
