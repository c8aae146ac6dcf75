"""What the measurements of curvature give, and how a terminal shows it."""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from fnn.layer import Array, PyTree
from fnn.tables import table

_BARS = 40


class Eigenvalues(NamedTuple):
    """The outermost eigenvalues, each with how far off it may be; `str()` of it is a table.

    Attributes:
      values: (count,), the largest, descending; NaN where the parameters are fewer.
      bounds: (count,), how far off each may be.
      lowest: the smallest: negative on a saddle.
      lowest_bound: how far off that may be.
      steps: how many were made.
      vectors: trees like the parameters, with an axis of `count` in front; None unless asked for.
    """

    values: Array
    bounds: Array
    lowest: Array
    lowest_bound: Array
    steps: Array
    vectors: PyTree

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
        said = (
            f"{int(self.steps)} Lanczos steps; gradient descent is stable below the rate "
            f"2 / λ = {_rate(2, self.values[0]):.3g}"
        )
        return "\n".join([*table(["eigenvalue", "value", "within"], lines), said])


class Density(NamedTuple):
    """The spectrum as a density on a grid; `str()` of it draws its logarithm.

    Attributes:
      grid: (points,), eigenvalues.
      density: (points,), of integral 1.
      nodes: (probes, steps), Ritz values; NaN where there are none.
      weights: (probes, steps), of sum 1 a probe.
    """

    grid: Array
    density: Array
    nodes: Array
    weights: Array

    def __str__(self) -> str:
        density = np.asarray(self.density, np.float64)
        decades = 4 + np.log10(np.maximum(density / density.max(), 1e-4))
        lines = [
            [f"{float(at):.4g}", f"{d:.2e}", "█" * round(_BARS * height / 4) if d >= 0 else "?"]
            for at, d, height in zip(self.grid, density, decades, strict=True)
        ]
        head = ["eigenvalue", "density", "four decades"]
        widths = [max(len(row[i]) for row in [head, *lines]) for i in (0, 1)]
        return "\n".join(
            f"{a:>{widths[0]}}  {b:>{widths[1]}}  {c}".rstrip() for a, b, c in [head, *lines]
        )


class Sharpness(NamedTuple):
    """The second derivative of the loss along its gradient.

    Attributes:
      value: gᵀHg / gᵀg.
      gradient_norm: ‖g‖.
    """

    value: Array
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
            f"{float(self.gradient_norm):.3g}; the best rate of one step {_rate(1, self.value):.3g}"
        )


def _rate(multiple: int, curvature: Array) -> float:
    """By numbers alone, which a text needs none of jax for."""
    value = float(curvature)
    return multiple / value if value > 0 else float("inf") if value <= 0 else value
