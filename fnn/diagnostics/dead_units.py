"""Units that never fire, proved over a whole data set: not a share of a batch, but every example seen."""

from collections.abc import Iterator
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from fnn.compose.watch import Kept
from fnn.diagnostics.layer_pass import LayerRow, part_count, row_of
from fnn.diagnostics.parts import examples_in, over_parts
from fnn.diagnostics.passes import Seen, each_block, named, seen_by_leaves
from fnn.layer import Array, Key, Layer, PyTree, Static, as_arrays, map_layers
from fnn.tables import table


class LayerUnits(NamedTuple):
    """The units of one activation, on the host.

    Attributes:
      path: such as blocks/block[3]/act.
      name: such as relu.
      width: how many units.
      silent: 0 on every example, while what they are fed is not.
      constant: one other number on every example, such as a sigmoid stuck at 1.
    """

    path: str
    name: str
    width: int
    silent: tuple[int, ...]
    constant: tuple[int, ...]


class DeadUnits(NamedTuple):
    """What the units of all activations did; `str()` is a table and the sentence that it proves.

    Attributes:
      rows: what is what in the arrays.
      order: (path, row, block).
      examples: how many were seen.
      silent: (K,), bool, of all units of all rows.
      constant: (K,), bool.
    """

    rows: Static[tuple[LayerRow, ...]]
    order: Static[tuple[tuple[str, int, int], ...]]
    examples: Static[int]
    silent: Array
    constant: Array

    @property
    def layers(self) -> tuple[LayerUnits, ...]:
        """Every activation, in the order of calls, with an entry for each block of a `repeat`."""
        return tuple(_layers(self))

    def __str__(self) -> str:
        layers = self.layers
        lines = [
            [each.path, each.name, str(each.width), _listed(each.silent), _listed(each.constant)]
            for each in layers
        ]
        never = sum(len(each.silent) for each in layers)
        units = sum(each.width for each in layers)
        said = f"{never} of {units} units never fire on the {self.examples.value} examples seen"
        return "\n".join(
            [*table(["layer", "kind", "units", "never fire", "constant"], lines, 5), said]
        )


def dead_units(
    net: Layer,
    params: PyTree,
    state: PyTree,
    x: PyTree,
    *,
    batch_size: int | None = None,
    key: Key = None,
) -> DeadUnits:
    """Which units of the activations of `net` do nothing on any of the examples `x`.

    An activation is a layer without parameters whose output has the shape of its input, and a unit of it
    an index of the last axis. It is silent if all its outputs are 0, and constant if they are one other
    number, at every example, position and time, while its inputs are not all the same: so a unit counts
    in the layer where it dies, and not again after it. The layers' inference passes are made, so that
    what an example does depends on no other, and batch norm has its running statistics.

    Args:
      net: the network.
      params: its parameters.
      state: its state.
      x: the examples, on the first axis of every leaf.
      batch_size: examples a pass, for a set that is larger than memory would bear; None for all at once.
      key: for containers that draw, as `stochastic_depth`, which leaves parts out in these passes too.

    Raises:
      ValueError: no examples, or a batch size below 1.
    """
    if batch_size is not None and batch_size < 1:
        raise ValueError(f"dead_units: expected a batch size of at least 1, got {batch_size}")
    inferring = _inferring(net)
    rows: list[LayerRow] = []
    order: list[tuple[str, int, int]] = []

    def one(x: PyTree, key: Key) -> tuple[Array, Array]:
        _, _, cache = inferring.forward(params, state, x, key)
        seen = seen_by_leaves(net, cache)
        known = [row_of(entry, spectra=0) for entry in seen]
        chosen = [i for i, row in enumerate(known) if row.activation and row.width]
        entries = [seen[i] for i in chosen]
        rows[:], order[:] = [known[i] for i in chosen], named(entries)
        return _extremes(entries)

    def merge(a: tuple[Array, Array], b: tuple[Array, Array]) -> tuple[Array, Array]:
        return jnp.minimum(a[0], b[0]), jnp.maximum(a[1], b[1])

    def begin(like: tuple[Array, Array]) -> tuple[Array, Array]:
        low, high = (jnp.zeros(each.shape, each.dtype) for each in like)
        return low + jnp.inf, high - jnp.inf

    @jax.jit
    def run(x: PyTree, key: Key) -> tuple[Array, Array]:
        low, high = over_parts(one, merge, begin, x, key, batch_size)
        still, fed = low[0] == high[0], low[1] < high[1]
        return still & fed & (low[0] == 0), still & fed & (low[0] != 0)

    x = as_arrays(x)
    silent, constant = run(x, key)
    return DeadUnits(
        Static(tuple(rows)), Static(tuple(order)), Static(examples_in(x)), silent, constant
    )


def _inferring(net: Layer) -> Layer:
    """The network whose leaves make their inference pass in `forward`, and keep what passed."""

    def one(path: str, leaf: Layer) -> Layer:
        del path  # every leaf alike

        def forward(
            params: PyTree, state: PyTree, x: PyTree, key: Key
        ) -> tuple[PyTree, PyTree, Kept]:
            y = leaf.predict(params, state, x)
            return y, state, Kept((), (params, state, key, x, y))

        return leaf._replace(forward=forward)

    return map_layers(one, net)


def _extremes(entries: list[Seen]) -> tuple[Array, Array]:
    """(2, K) each: the smallest and the largest of every unit, of the outputs and of the inputs."""
    lows: list[list[Array]] = [[], []]
    highs: list[list[Array]] = [[], []]
    for entry in entries:
        for i, tree in enumerate((entry.y, entry.x)):
            (array,) = jax.tree.leaves(tree)
            wide = array.astype(jnp.promote_types(array.dtype, jnp.float32))
            rows = wide.reshape(wide.shape[0], -1, wide.shape[-1])
            lows[i].append(each_block(lambda a: a.min(axis=0), rows).reshape(-1))
            highs[i].append(each_block(lambda a: a.max(axis=0), rows).reshape(-1))
    if not entries:
        return jnp.zeros((2, 0), jnp.float32), jnp.zeros((2, 0), jnp.float32)
    low, high = (jnp.stack([jnp.concatenate(each) for each in found]) for found in (lows, highs))
    return low, high


def _layers(found: DeadUnits) -> Iterator[LayerUnits]:
    rows = found.rows.value
    silent, constant = np.asarray(found.silent), np.asarray(found.constant)
    starts = np.cumsum([0, *(part_count(row) * row.width for row in rows)])
    for path, i, block in found.order.value:
        row = rows[i]
        own = slice(starts[i] + block * row.width, starts[i] + (block + 1) * row.width)
        yield LayerUnits(
            path,
            row.name,
            row.width,
            tuple(np.flatnonzero(silent[own]).tolist()),
            tuple(np.flatnonzero(constant[own]).tolist()),
        )


def _listed(units: tuple[int, ...], most: int = 8) -> str:
    """How many, and the first of them."""
    if not units:
        return ""
    shown = ", ".join(map(str, units[:most]))
    return f"{len(units)}: {shown}" + (", …" if len(units) > most else "")
