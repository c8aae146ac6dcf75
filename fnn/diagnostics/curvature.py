"""How the loss bends around the parameters: eigenvalues, trace and spectrum of its Hessian.

H = ∂²L/∂θ² of the mean loss, by its products alone: H v is the derivative of the hand-written gradient
along v (`fnn.hvp`), or, of the generalised Gauss-Newton matrix, G v = Jᵀ H_L J v with the forward pass's
derivative J, the hand-written backward pass Jᵀ, and H_L the Hessian of the loss in the prediction; G is
what H would be if the network were linear, and has no negative eigenvalue for a convex loss. All are of the
training pass, on the batch that is given; one v costs about two gradients.

The largest eigenvalue λ bounds the rates at which plain gradient descent does not diverge, 2 / λ.
Sharpness along the gradient, gᵀHg / gᵀg, is what a step feels: L falls most at the rate gᵀg / gᵀHg.
Source: Pearlmutter (1994); Schraudolph (2002); LeCun, Simard, Pearlmutter (1993).
"""

from collections.abc import Callable
from typing import Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp

from fnn.check.reports.text import table
from fnn.diagnostics.lanczos import Lanczos, Product, Trace, lanczos, trace_of
from fnn.diagnostics.parts import over_parts
from fnn.diagnostics.passes import share_of_mean
from fnn.dtypes import accumulation_dtype
from fnn.gradient import reduced_by_hand
from fnn.layer import Array, Key, Layer, PyTree, as_arrays
from fnn.losses import Loss
from fnn.random import child_key

Matrix = Literal["hessian", "gauss-newton"]
_BARS = 40
_HIGHEST = jax.lax.Precision.HIGHEST


class Eigenvalues(NamedTuple):
    """The outermost eigenvalues, each with how far off it may be; `str()` of it is a table."""

    values: Array  # (count,), the largest, descending; NaN where the parameters are fewer
    bounds: Array  # (count,)
    lowest: Array  # the smallest: negative on a saddle
    lowest_bound: Array
    steps: Array  # that were made
    vectors: PyTree  # trees like the parameters, with an axis of `count` in front; None unless asked for

    @property
    def stable_rate(self) -> Array:
        """2 / λ, above which plain gradient descent diverges; ∞ where no λ is positive."""
        top = self.values[0]
        return jnp.where(top > 0, 2 / jnp.where(top > 0, top, 1), jnp.where(top <= 0, jnp.inf, top))

    def __str__(self) -> str:
        named = [f"λ {i + 1}" for i in range(self.values.shape[0])]
        lines = [
            [name, f"{float(value):.6g}", f"{float(bound):.1g}"]
            for name, value, bound in zip(
                [*named, "λ lowest"],
                [*self.values, self.lowest],
                [*self.bounds, self.lowest_bound],
                strict=True,
            )
        ]
        return "\n".join([
            *table(["eigenvalue", "value", "within"], lines),
            f"{int(self.steps)} Lanczos steps; gradient descent is stable below the rate "
            f"2 / λ = {float(self.stable_rate):.3g}",
        ])


class Density(NamedTuple):
    """The spectrum as a density on a grid; `str()` of it draws its logarithm."""

    grid: Array  # (points,)
    density: Array  # (points,), of integral 1
    nodes: Array  # (probes, steps), Ritz values; NaN where there are none
    weights: Array  # (probes, steps), of sum 1 a probe

    def __str__(self) -> str:
        top = float(self.density.max())
        decades = [4 + float(jnp.log10(jnp.maximum(d / top, 1e-4))) for d in self.density]
        lines = [
            [f"{float(at):.4g}", f"{float(d):.2e}", "█" * round(_BARS * height / 4)]
            for at, d, height in zip(self.grid, self.density, decades, strict=True)
        ]
        head = ["eigenvalue", "density", "four decades"]
        widths = [max(len(row[i]) for row in [head, *lines]) for i in (0, 1)]
        return "\n".join(
            f"{a:>{widths[0]}}  {b:>{widths[1]}}  {c}".rstrip() for a, b, c in [head, *lines]
        )


class Sharpness(NamedTuple):
    """The second derivative of the loss along its gradient."""

    value: Array  # gᵀHg / gᵀg
    gradient_norm: Array

    @property
    def best_rate(self) -> Array:
        """gᵀg / gᵀHg, of the step that lowers the quadratic model most; ∞ where it bends down."""
        return jnp.where(
            self.value > 0,
            1 / jnp.where(self.value > 0, self.value, 1),
            jnp.where(self.value <= 0, jnp.inf, self.value),
        )

    def __str__(self) -> str:
        return (
            f"sharpness along the gradient {float(self.value):.5g}, |g| "
            f"{float(self.gradient_norm):.3g}; the best rate of one step {float(self.best_rate):.3g}"
        )


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
    _check(matrix, batch_size)
    if steps < 1 or not 1 <= count <= steps or tolerance < 0:
        raise ValueError(
            "hessian_eigenvalues: expected 1 <= count <= steps and a tolerance of 0 or more, got "
            f"count {count}, steps {steps}, tolerance {tolerance}"
        )

    def look(flat: "_Flat", product: Product, key: Key) -> Eigenvalues:
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

    return _looking(net, loss, matrix, batch_size, look)


def hessian_trace(
    net: Layer,
    loss: Loss,
    *,
    probes: int = 16,
    matrix: Matrix = "hessian",
    batch_size: int | None = None,
) -> Callable[..., Trace]:
    """``look(params, state, x, target, key, weights=None) -> Trace``, pure and jitted.

    By Hutchinson's estimate with `probes` random vectors of ±1, whose variance is that of the elements
    beside the diagonal alone. For the other arguments see `hessian_eigenvalues`.

    Raises:
      ValueError: no probes, or an unknown matrix.
    """
    _check(matrix, batch_size)
    _check_positive("hessian_trace", probes=probes)

    def look(flat: "_Flat", product: Product, key: Key) -> Trace:
        def sample(key: Array) -> Array:
            v = jax.random.rademacher(key, flat.vector.shape, flat.vector.dtype)
            return jnp.vdot(v, product(v), precision=_HIGHEST)

        return trace_of(jax.lax.map(sample, jax.random.split(key, probes)))

    return _looking(net, loss, matrix, batch_size, look)


def hessian_density(
    net: Layer,
    loss: Loss,
    *,
    probes: int = 4,
    steps: int = 32,
    points: int = 64,
    width: float = 0.01,
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
    _check(matrix, batch_size)
    _check_positive("hessian_density", probes=probes, steps=steps, points=points, width=width)

    def look(flat: "_Flat", product: Product, key: Key) -> Density:
        def probe(key: Array) -> Lanczos:
            start = jax.random.normal(key, flat.vector.shape, flat.vector.dtype)
            return lanczos(product, start, steps)._replace(basis=None)

        found = jax.lax.map(probe, jax.random.split(key, probes))
        return density_of(found.values, found.weights, points, width)

    return _looking(net, loss, matrix, batch_size, look)
