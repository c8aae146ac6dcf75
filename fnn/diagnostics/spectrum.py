"""How many directions a layer's outputs really use: the effective and the stable rank.

With Y the outputs, one a row, less their mean, and σ_1 >= σ_2 >= … the singular values of Y:

    effective rank  exp(-Σ p_k log p_k),  p_k = σ_k / Σ σ      stable rank  Σ σ_k² / σ_1²

Both are 1 if all outputs lie on one line and C if they spread evenly over all C directions; unlike the
number of σ above 0, they do not jump. σ² are the eigenvalues of the scatter matrix Σ (y - ȳ)(y - ȳ)ᵀ,
C × C however many rows there are, which combines over parts of a data set as the moments do.
Source: Roy, Vetterli (2007); Rudelson, Vershynin (2007); Chan, Golub, LeVeque (1983).
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from fnn.diagnostics.eigenvalues import symmetric_eigenvalues
from fnn.dtypes import accumulation_dtype, check_inexact
from fnn.layer import Array, as_arrays


class Scatter(NamedTuple):
    """The second moments of a set of rows."""

    rows: Array  # (), how many
    mean: Array  # (C,)
    products: Array  # (C, C), Σ (y - ȳ)(y - ȳ)ᵀ


class Rank(NamedTuple):
    """How many directions are used, as real numbers from 1 to C; 0 where all rows are one point, NaN
    where one is not finite.

    Attributes:
      effective: exp(-Σ p log p) of the shares p of the singular values.
      stable: Σ σ² / σ₁² of the singular values.
    """

    effective: Array
    stable: Array


def scatter(x: Array, mean: Array | None = None) -> Scatter:
    """The moments of all rows of x (…, C), in float32 at least; `mean`, (C,), if it is known."""
    wide = x.astype(accumulation_dtype(x.dtype)).reshape(-1, x.shape[-1])
    count = jnp.asarray(wide.shape[0], wide.dtype)
    mean = wide.sum(axis=0) / jnp.maximum(count, 1) if mean is None else mean
    centred = wide - mean[None]
    return Scatter(count, mean, jnp.matmul(centred.T, centred, precision=jax.lax.Precision.HIGHEST))


def merged_scatter(a: Scatter, b: Scatter) -> Scatter:
    """Those of the rows of both; associative, and all zeros are neutral."""
    count = a.rows + b.rows
    share = b.rows / jnp.maximum(count, 1)
    step = b.mean - a.mean
    between = step[:, None] * step[None, :] * (a.rows * share)
    return Scatter(count, a.mean + step * share, a.products + b.products + between)


def rank_of(moments: Scatter) -> Rank:
    """Both ranks, from the eigenvalues of the scatter matrix.

    An eigenvalue below ``eps · max(n, C)`` times the largest is rounding, and counts as 0; eps is that of
    the dtype, so that in float32 directions of a thousandth of the largest spread are seen, and finer
    ones in float64.
    """
    products = moments.products
    eps = jnp.finfo(products.dtype).eps
    finite = jnp.isfinite(products).all()
    # A decomposition of NaN may raise or not end, by platform.
    values = symmetric_eigenvalues(jnp.where(finite, products, 0))
    largest = values[-1]
    floor = eps * jnp.maximum(moments.rows, products.shape[0]) * largest
    values = jnp.where(values > floor, values, 0)
    sigma = jnp.sqrt(values)
    p = sigma / jnp.maximum(sigma.sum(), jnp.finfo(products.dtype).tiny)
    entropy = -jnp.where(p > 0, p * jnp.log(jnp.where(p > 0, p, 1)), 0).sum()
    some = largest > 0
    ranks = (jnp.exp(entropy), values.sum() / jnp.where(some, largest, 1))
    return Rank(*(jnp.where(finite, jnp.where(some, r, 0), jnp.nan) for r in ranks))


def effective_rank(x: Array) -> Rank:
    """Both ranks of the rows of x (…, C), centred; jittable. See this module for the formulas.

    Where there are fewer rows than columns, the matrix of the rows' products, which has the same
    eigenvalues, is decomposed in place of the scatter matrix.

    Raises:
      TypeError: x is of integers.
      ValueError: x has no axis of rows, or is empty.
    """
    x = as_arrays(x)
    check_inexact(x)
    if x.ndim < 2 or x.size == 0:
        raise ValueError(f"effective_rank: expected rows (…, C), one at least, got {x.shape}")
    rows = x.reshape(-1, x.shape[-1])
    found = scatter(rows)
    if rows.shape[0] >= rows.shape[1]:
        return rank_of(found)
    centred = rows.astype(found.mean.dtype) - found.mean[None]
    gram = jnp.matmul(centred, centred.T, precision=jax.lax.Precision.HIGHEST)
    return rank_of(Scatter(jnp.asarray(rows.shape[1], gram.dtype), found.mean, gram))
