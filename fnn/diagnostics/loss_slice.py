"""The loss along a line through the parameters, and on a plane.

    line    L(θ + a d)            plane    L(θ + a d + b e)

Losses are means over all examples, of the training pass. For directions that are worth a look see
`fnn.diagnostics.loss_directions`. Source: Goodfellow, Vinyals, Saxe (2015).
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from fnn.diagnostics.curvature_products import check_batch_size, summed_over_parts
from fnn.diagnostics.loss_directions import check_like
from fnn.dtypes import accumulation_dtype
from fnn.layer import Array, Key, Layer, PyTree
from fnn.losses import Loss
from fnn.tables import table

_BARS = 40
_SHADES = "█▓▒░·"  # from the lowest fifth of the losses to the highest


class LossLine(NamedTuple):
    """The loss at points of a line; `str()` of it is a table with bars.

    Attributes:
      distances: (A,), along the direction.
      losses: (A,), means over the examples.
    """

    distances: Array
    losses: Array

    def __str__(self) -> str:
        losses = np.asarray(self.losses, np.float64)
        low, high = _ends(losses)
        shares = (losses - low) / (high - low if high > low else 1)
        lines = [
            [f"{float(a):.4g}", f"{loss:.5g}", _bar(share)]
            for a, loss, share in zip(self.distances, losses, shares, strict=True)
        ]
        first, rule, *rows = table(["distance", "loss"], [line[:2] for line in lines])
        return "\n".join(
            [
                first,
                rule,
                *(f"{row}  {line[2]}".rstrip() for row, line in zip(rows, lines, strict=True)),
            ]
        )


class LossPlane(NamedTuple):
    """The loss on a grid; `str()` of it is a map, a across and b upward, the darker the lower.

    Attributes:
      a: (A,), along the first direction.
      b: (B,), along the second.
      losses: (A, B), means over the examples.
    """

    a: Array
    b: Array
    losses: Array

    def __str__(self) -> str:
        losses = np.asarray(self.losses, np.float64)
        known = np.sort(losses[np.isfinite(losses)])
        if not known.size:
            return "no loss on this plane is finite"
        ranks = np.searchsorted(known, losses) * len(_SHADES) // known.size
        ranks = np.minimum(ranks, len(_SHADES) - 1)
        lines = [
            [
                f"{float(at):.4g}",
                "".join(
                    2 * (_SHADES[rank] if np.isfinite(loss) else "?")
                    for rank, loss in zip(row, values, strict=True)
                ),
            ]
            for at, row, values in reversed([*zip(self.b, ranks.T, losses.T, strict=True)])
        ]
        width = max(len(label) for label, _ in lines)
        lowest = np.nanargmin(np.where(np.isfinite(losses), losses, np.nan))
        i, j = np.unravel_index(lowest, losses.shape)
        said = (
            f"across: a from {float(self.a[0]):.4g} to {float(self.a[-1]):.4g}; upward: b; "
            f"loss {known[0]:.5g} (at a = {float(self.a[i]):.4g}, b = {float(self.b[j]):.4g}) "
            f"to {known[-1]:.5g}"
        )
        return "\n".join(
            [
                *(f"{label:>{width}}  {cells}" for label, cells in lines),
                said,
            ]
        )


def loss_along(net: Layer, loss: Loss, *, batch_size: int | None = None) -> Callable[..., LossLine]:
    """``look(params, state, x, target, direction, distances, key=None, weights=None) -> LossLine``.

    Pure and jitted; L(params + a direction) for each a of `distances` (A,), one after another.

    Args:
      net: the network.
      loss: that of an example.
      batch_size: examples of a part, if the data is too large for one pass. Batch norm then takes the
        statistics of each part.

    Raises:
      ValueError: a batch size that is not positive, or a direction that is not like the parameters.
    """
    on_plane = loss_on_plane(net, loss, batch_size=batch_size)

    def look(
        params: PyTree,
        state: PyTree,
        x: PyTree,
        target: PyTree,
        direction: PyTree,
        distances: Array,
        key: Key = None,
        weights: Array | None = None,
    ) -> LossLine:
        check_like(params, direction)
        still = jax.tree.map(jnp.zeros_like, params)
        found = on_plane(
            params, state, x, target, (direction, still), distances, jnp.zeros(1), key, weights
        )
        return LossLine(found.a, found.losses[:, 0])

    return jax.jit(look)


def loss_on_plane(
    net: Layer, loss: Loss, *, batch_size: int | None = None
) -> Callable[..., LossPlane]:
    """``look(params, state, x, target, directions, a, b, key=None, weights=None) -> LossPlane``.

    Pure and jitted; L(params + a_i directions[0] + b_j directions[1]) for a (A,) and b (B,), one point
    after another. For the arguments see `loss_along`.

    Raises:
      ValueError: a batch size that is not positive, or directions that are not like the parameters.
    """
    check_batch_size(batch_size)

    def part(
        params: PyTree, state: PyTree, x: PyTree, target: PyTree, key: Key, reduce: Any
    ) -> Array:
        prediction, _, _ = net.forward(params, state, x, key)
        value: Array = reduce(loss.forward(prediction, target)[0])[0]
        return value

    mean = summed_over_parts(part, batch_size)

    def look(
        params: PyTree,
        state: PyTree,
        x: PyTree,
        target: PyTree,
        directions: tuple[PyTree, PyTree],
        a: Array,
        b: Array,
        key: Key = None,
        weights: Array | None = None,
    ) -> LossPlane:
        if len(directions) != 2:
            raise ValueError(f"loss_on_plane: expected two directions, got {len(directions)}")
        for direction in directions:
            check_like(params, direction)
        a, b = jnp.asarray(a), jnp.asarray(b)

        def at(point: tuple[Array, Array]) -> Array:
            def moved(p: Array, d: Array, e: Array) -> Array:
                wide = accumulation_dtype(p.dtype)
                step = point[0].astype(wide) * d.astype(wide) + point[1].astype(wide) * e.astype(
                    wide
                )
                return (p.astype(wide) + step).astype(p.dtype)

            there = jax.tree.map(moved, params, *directions)
            found: Array = mean(there, state, x, target, key, weights)
            return found

        points = jnp.repeat(a, b.size), jnp.tile(b, a.size)
        return LossPlane(a, b, jax.lax.map(at, points).reshape(a.size, b.size))

    return jax.jit(look)


def _ends(losses: np.ndarray) -> tuple[float, float]:
    """The smallest and the largest of those that are finite; 0 and 1 where none is."""
    known = losses[np.isfinite(losses)]
    return (float(known.min()), float(known.max())) if known.size else (0.0, 1.0)


def _bar(share: float) -> str:
    return "█" * round(_BARS * share) if 0 <= share <= 1 else "?"
