"""What `health` found, as values: a tree of small arrays, and a row a layer."""

from typing import NamedTuple

import jax
import numpy as np

from fnn.diagnostics.layer_pass import LayerRow, part_count
from fnn.diagnostics.spectrum import Rank
from fnn.diagnostics.statistics import Statistics
from fnn.layer import Array, PyTree, Static


class LayerHealth(NamedTuple):
    """One leaf layer in a training pass, on the host; C is the width of the last axis of its output.

    Tuples of arrays count together; integers not at all. What there is nothing to find of is None.

    Attributes:
      path: such as blocks/block[3]/mlp/expand.
      name: such as linear(512).
      y: the statistics of its output.
      dy: those of dL/dy.
      forward_gain: std(y) / std(x); NaN without floats in x or y, or where x is constant.
      backward_gain: rms(dx) / rms(dy); NaN likewise, and where dy is 0.
      active: (C,), of each unit, the share of elements that are not 0.
      dead: (C,), bool: always 0, where that unit of x is not; of activations alone.
      always: (C,), bool: never 0 where that unit of x is not; likewise.
      saturated: the share on the flat ends, of bounded activations; see `saturation`.
      rank: of its outputs, centred; see `spectrum`.
      variation: √(Σ (y - ȳ)² / Σ y²), with the mean ȳ of each unit: 0 if all are alike.
      gradients: dL/dθ, by the name of the parameter, such as "w".
    """

    path: str
    name: str
    y: Statistics | None
    dy: Statistics | None
    forward_gain: float
    backward_gain: float
    active: np.ndarray | None
    dead: np.ndarray | None
    always: np.ndarray | None
    saturated: float | None
    rank: Rank | None
    variation: float | None
    gradients: dict[str, Statistics]

    @property
    def width(self) -> int:
        """C, or 0 where the output is a tuple or has no units."""
        return 0 if self.active is None else len(self.active)


class Health(NamedTuple):
    """What a pass over a batch showed: a tree of small arrays, for `jit`, `vmap` and a log.

    `rows` is what to read. `str()` is a table of it, with a mark for each of the `findings`.
    L counts the layers of all blocks, K their units, G their parameters, as `Form` says.

    Attributes:
      form: what is what in the arrays.
      loss: (), the mean.
      y: (L,) each, of what the layers give.
      dy: (L,) each, of dL/dy.
      forward_gain: (L,), std(y) / std(x).
      backward_gain: (L,), rms(dx) / rms(dy).
      active: (K,), the shares of elements that are not 0.
      dead: (K,), bool: always 0.
      always: (K,), bool: never 0.
      saturated: (L,), shares; NaN where there is nothing bounded.
      rank: (L,) each, NaN where it was not looked for.
      variation: (L,), NaN likewise.
      gradients: (G,) each, of dL/dθ.
    """

    form: Static["Form"]
    loss: Array
    y: Statistics
    dy: Statistics
    forward_gain: Array
    backward_gain: Array
    active: Array
    dead: Array
    always: Array
    saturated: Array
    rank: Rank
    variation: Array
    gradients: Statistics

    @property
    def examples(self) -> int:
        """How many were looked at."""
        return self.form.value.examples

    @property
    def rows(self) -> tuple[LayerHealth, ...]:
        """The leaf layers in the order of calls, with an entry for each block of a `repeat`."""
        return _rows(jax.device_get(self))

    def __str__(self) -> str:
        from fnn.diagnostics.health_text import health_text  # which reads the types of this module

        return health_text(self)


class Form(NamedTuple):
    """What is what in the arrays of `Health`.

    Attributes:
      rows: each of which is as many of L as there are blocks.
      order: (path, row, block), in the order of calls.
      parameters: (row, name), each of which is as many of G.
      examples: how many were looked at.
    """

    rows: tuple[LayerRow, ...]
    order: tuple[tuple[str, int, int], ...]
    parameters: tuple[tuple[int, str], ...]
    examples: int


def row_starts(rows: tuple[LayerRow, ...]) -> list[int]:
    """Where in L each row begins."""
    return [0, *np.cumsum([part_count(row) for row in rows])[:-1].tolist()]


def _rows(found: Health) -> tuple[LayerHealth, ...]:
    """The rows of a `Health` of NumPy arrays."""
    form = found.form.value
    starts = row_starts(form.rows)
    units = np.cumsum([0, *(part_count(row) * row.width for row in form.rows)])
    begins = np.cumsum([0, *(part_count(form.rows[i]) for i, _ in form.parameters)])

    def at(tree: PyTree, i: int) -> PyTree:
        return jax.tree.map(lambda leaf: leaf[i], tree)

    def some(of: Statistics, i: int) -> Statistics | None:
        return at(of, i) if of.finite[i] + of.nonfinite[i] > 0 else None

    rows = []
    for path, i, block in form.order:
        row, place = form.rows[i], starts[i] + block
        own = slice(units[i] + block * row.width, units[i] + (block + 1) * row.width)
        activation = bool(row.width) and row.activation
        rows.append(
            LayerHealth(
                path,
                row.name,
                some(found.y, place),
                some(found.dy, place),
                float(found.forward_gain[place]),
                float(found.backward_gain[place]),
                np.asarray(found.active[own]) if row.width else None,
                np.asarray(found.dead[own]) if activation else None,
                np.asarray(found.always[own]) if activation else None,
                float(found.saturated[place]) if row.bounded else None,
                at(found.rank, place) if row.spectrum else None,
                float(found.variation[place]) if row.spectrum else None,
                {
                    name: at(found.gradients, start + block)
                    for (j, name), start in zip(form.parameters, begins, strict=False)
                    if j == i
                },
            )
        )
    return tuple(rows)
