"""How the loss bends around the parameters: eigenvalues, trace and spectrum of its Hessian.

H = ∂²L/∂θ² of the mean loss, by its products alone: H v is the derivative of the hand-written gradient
along v (`fnn.hvp`), or, of the generalised Gauss-Newton matrix, G v = Jᵀ H_L J v with the derivative J of
the forward pass, the hand-written backward pass Jᵀ, and H_L the Hessian of the loss in the prediction.
G is what H would be if the network were linear, and has no negative eigenvalue if the loss is convex.
All are of the training pass, on the batch that is given; one v costs about two gradients.

The largest eigenvalue λ bounds the rates at which plain gradient descent does not diverge, 2 / λ.
Sharpness along the gradient, gᵀHg / gᵀg, is what a step feels: L falls most at the rate gᵀg / gᵀHg.
Source: Pearlmutter (1994); Schraudolph (2002); LeCun, Simard, Pearlmutter (1993).
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from fnn.diagnostics.curvature_products import (
    Flat,
    Matrix,
    check_batch_size,
    check_matrix,
    flattened,
    gradient_of_data,
    products_of_data,
)
from fnn.diagnostics.curvature_results import Density, Eigenvalues, Sharpness
from fnn.diagnostics.lanczos import Product, Trace, hutch_plus_plus, lanczos, trace_of
from fnn.layer import Array, Key, Layer, PyTree
from fnn.losses import Loss
from fnn.random import name_hash

_HIGHEST = jax.lax.Precision.HIGHEST


def hessian_eigenvalues(
    net: Layer,
    loss: Loss,
    *,
    count: int = 1,
    steps: int = 40,
    tolerance: float = 1e-3,
    matrix: Matrix = "hessian",
    vectors: bool = False,
    batch_size: int | None = None,
) -> Callable[..., Eigenvalues]:
    """``look(params, state, x, target, key, weights=None) -> Eigenvalues``, pure and jitted.

    By `lanczos` from a random vector. The key is for that and for the network, which draws the same
    numbers in every product.

    Args:
      net: the network.
      loss: that of an example.
      count: how many of the largest.
      steps: of Lanczos at most, each a product; memory: as many copies of the parameters.
      tolerance: end when all bounds are below this share of the largest magnitude; 0 for all steps.
        The error of an eigenvalue that lies apart is rather the square of that.
      matrix: the Hessian, or the generalised Gauss-Newton matrix.
      vectors: whether the eigenvectors are wanted too.
      batch_size: examples of a part, if the data is too large for one pass. Batch norm then takes the
        statistics of each part.

    Raises:
      ValueError: an unknown matrix, or what `lanczos` refuses.
    """
    check_matrix(matrix, batch_size)
    if steps < 1 or not 1 <= count <= steps or tolerance < 0:
        raise ValueError(
            "hessian_eigenvalues: expected 1 <= count <= steps and a tolerance of 0 or more, got "
            f"count {count}, steps {steps}, tolerance {tolerance}"
        )

    def look(flat: Flat, product: Product, key: Array) -> Eigenvalues:
        start = jax.random.normal(key, flat.vector.shape, flat.vector.dtype)
        found = lanczos(
            product,
            start,
            steps,
            tolerance=tolerance,
            count=min(count, start.size),
        )
        values, bounds = found.highest(count)
        trees = jax.vmap(flat.restored)(found.vectors(count)) if vectors else None
        return Eigenvalues(values, bounds, found.values[0], found.bounds[0], found.steps, trees)

    return _looking("hessian_eigenvalues", net, loss, matrix, batch_size, look)


def hessian_trace(
    net: Layer,
    loss: Loss,
    *,
    probes: int = 16,
    sketch: int = 0,
    matrix: Matrix = "hessian",
    batch_size: int | None = None,
) -> Callable[..., Trace]:
    """``look(params, state, x, target, key, weights=None) -> Trace``, pure and jitted.

    By Hutchinson's estimate with random vectors of ±1, whose variance is that of the elements beside the
    diagonal alone; or with a sketch, by Hutch++. For the other arguments see `hessian_eigenvalues`.

    Args:
      net: the network.
      loss: that of an example.
      probes: how many random vectors, a product each.
      sketch: vectors of a space on which the trace is exact, two products each and as many copies of the
        parameters (see `hutch_plus_plus`); 0 for none. At most as many as there are parameters.
      matrix: the Hessian, or the generalised Gauss-Newton matrix.
      batch_size: examples of a part.

    Raises:
      ValueError: no probes, a sketch below 0, or an unknown matrix.
    """
    check_matrix(matrix, batch_size)
    _check_positive("hessian_trace", probes=probes)
    if sketch < 0:
        raise ValueError(f"hessian_trace: expected a sketch of 0 vectors or more, got {sketch}")

    def look(flat: Flat, product: Product, key: Array) -> Trace:
        def signs(key: Array) -> Array:
            return jax.random.rademacher(key, flat.vector.shape, flat.vector.dtype)

        def sample(key: Array) -> Array:
            v = signs(key)
            return jnp.vdot(v, product(v), precision=_HIGHEST)

        keys = jax.random.split(key, probes)
        if not sketch:  # one vector at a time
            return trace_of(jax.lax.map(sample, keys))
        size = min(sketch, flat.vector.size)
        of_sketch = jax.random.split(jax.random.fold_in(key, probes), size)
        return hutch_plus_plus(product, jax.vmap(signs)(of_sketch), jax.vmap(signs)(keys))

    return _looking("hessian_trace", net, loss, matrix, batch_size, look)


def hessian_density(
    net: Layer,
    loss: Loss,
    *,
    probes: int = 4,
    steps: int = 32,
    points: int = 64,
    width: float = 0.02,
    matrix: Matrix = "hessian",
    batch_size: int | None = None,
) -> Callable[..., Density]:
    """``look(params, state, x, target, key, weights=None) -> Density``, pure and jitted.

    By stochastic Lanczos quadrature: each Ritz value of each probe as a Gaussian with its weight. For the
    other arguments see `hessian_eigenvalues`.

    Args:
      net: the network.
      loss: that of an example.
      probes: random vectors, one after another.
      steps: of Lanczos for each.
      points: of the grid, which holds all Ritz values and four widths more on both sides.
      width: the deviation of the Gaussians, as a share of the range of all Ritz values.
      matrix: the Hessian, or the generalised Gauss-Newton matrix.
      batch_size: examples of a part.

    Raises:
      ValueError: a number that is not positive, or an unknown matrix.
    """
    check_matrix(matrix, batch_size)
    _check_positive("hessian_density", probes=probes, steps=steps, points=points, width=width)

    def look(flat: Flat, product: Product, key: Array) -> Density:
        def probe(key: Array) -> tuple[Array, Array]:
            start = jax.random.normal(key, flat.vector.shape, flat.vector.dtype)
            found = lanczos(product, start, steps)
            return found.values, found.weights

        nodes, shares = jax.lax.map(probe, jax.random.split(key, probes))
        low, high = jnp.nanmin(nodes), jnp.nanmax(nodes)
        scale = jnp.maximum(jnp.maximum(jnp.abs(low), jnp.abs(high)), 1)
        sigma = jnp.maximum(width * (high - low), jnp.finfo(nodes.dtype).eps * scale)
        grid = jnp.linspace(low - 4 * sigma, high + 4 * sigma, points)
        known = jnp.where(jnp.isnan(nodes), 0, nodes)  # of weight 0
        # One probe after another: points · steps numbers at a time.
        heights = jax.lax.map(lambda each: _gaussians(grid, sigma, *each), (known, shares))
        return Density(grid, heights.mean(axis=0), nodes, shares)

    return _looking("hessian_density", net, loss, matrix, batch_size, look)


def gradient_sharpness(
    net: Layer, loss: Loss, *, batch_size: int | None = None
) -> Callable[..., Sharpness]:
    """``look(params, state, x, target, key=None, weights=None) -> Sharpness``, pure and jitted.

    Two products' worth of work; NaN where the gradient is 0. For `batch_size` see `hessian_eigenvalues`.

    Raises:
      ValueError: a batch size that is not positive.
    """
    check_batch_size(batch_size)
    gradient = gradient_of_data(net, loss, batch_size)
    products = products_of_data(net, loss, "hessian", batch_size)

    def look(
        params: PyTree,
        state: PyTree,
        x: PyTree,
        target: PyTree,
        key: Key = None,
        weights: Array | None = None,
    ) -> Sharpness:
        given = (params, state, x, target, key, weights)
        g = flattened(gradient(*given)).vector
        norm = jnp.sqrt(jnp.vdot(g, g, precision=_HIGHEST))
        unit = g / norm
        bent = flattened(products(*given)(flattened(params).restored(unit))).vector
        return Sharpness(jnp.vdot(unit, bent, precision=_HIGHEST), norm)

    return jax.jit(look)


def _looking(
    name: str,
    net: Layer,
    loss: Loss,
    matrix: Matrix,
    batch_size: int | None,
    look: Callable[[Flat, Product, Array], Any],
) -> Callable[..., Any]:
    """`look` at the parameters as a vector, the product of vectors, and a key, of a network's data."""
    products = products_of_data(net, loss, matrix, batch_size)

    def function(
        params: PyTree,
        state: PyTree,
        x: PyTree,
        target: PyTree,
        key: Key = None,
        weights: Array | None = None,
    ) -> Any:
        if key is None:
            raise TypeError(
                f"{name}: expected a key, which its random vectors are drawn with (and what the network "
                "draws): look(params, state, x, target, jax.random.key(0))"
            )
        flat = flattened(params)
        of_net, own = (
            jax.random.fold_in(key, name_hash("network")),
            jax.random.fold_in(key, name_hash("start")),
        )
        tree_product = products(params, state, x, target, of_net, weights)

        def product(v: Array) -> Array:
            return flattened(tree_product(flat.restored(v))).vector.astype(v.dtype)

        return look(flat, product, own)

    return jax.jit(function)


def _gaussians(grid: Array, sigma: Array, nodes: Array, weights: Array) -> Array:
    away = (grid[:, None] - nodes[None]) / sigma
    return (weights[None] * jnp.exp(-away * away / 2)).sum(axis=1) / (
        sigma * jnp.sqrt(jnp.asarray(2 * jnp.pi, sigma.dtype))
    )


def _check_positive(name: str, **numbers: float) -> None:
    for what, number in numbers.items():
        if not number > 0:
            raise ValueError(f"{name}: expected {what} above 0, got {number}")
