"""Where the memory of a training step goes: what each layer keeps, and what `fnn.remat` would save.

A layer's cache lives from its forward to its backward pass. With `remat` around it, its input lives in
place of the cache, which is built anew when backward gets there, for the operations of its forward:

    saves    bytes that only caches within it hold, less its input and key where nothing else holds them
    rebuilt  bytes of the cache that backward builds again, of one call: what there is of it at a time
    peak     by so much the most that is kept at a time falls: less than it saves, where what is kept from
             the layers before it and what it rebuilds are together more than what is kept after forward
    costs    operations of its forward pass, and their share of a step's without it

The whole network in one `remat` lowers no peak, as all of its cache is rebuilt at once; nor does its last
block, which backward begins with. Parameters, state and the batch are there anyway, and are counted in no
cache. Source: Chen, Xu, Zhang, Guestrin (2016).
"""

from collections import Counter
from collections.abc import Collection, Sequence
from typing import NamedTuple

import jax

from fnn.compose.remat import remat
from fnn.diagnostics.kept import (
    KeptBy,
    Label,
    bytes_text,
    joined,
    kept_by_layers,
    kept_bytes,
    total_bytes,
)
from fnn.diagnostics.summary import Summary, flops_text, summary
from fnn.gradient import Differentiated, auto_value_and_grad, value_and_grad
from fnn.layer import Array, Key, Layer, PyTree
from fnn.losses import Loss
from fnn.tables import table

_NAMED = 3  # as many in the line of advice


class MemoryRow(NamedTuple):
    """What one layer or container keeps, and what `remat` around it would change."""

    path: str  # "" for the network itself
    name: str
    leaf: bool
    cache: int  # bytes, of all that lies in it, each array once
    fields: tuple[tuple[str, int], ...]  # of the cache, with bytes
    saves: int  # bytes; negative where its input is larger than its cache
    rebuilt: int  # bytes
    peak: int  # bytes that it falls by
    flops: int  # to run its leaves forward again
    share: float  # of the step's operations

    @property
    def saved_per_flop(self) -> float:
        """Bytes of the peak; ∞ where nothing has to be computed."""
        return self.peak / self.flops if self.flops else float("inf")


class XlaMemory(NamedTuple):
    """XLA's own figures for a compiled value and gradient, in bytes."""

    name: str
    temporary: int  # caches and all else that lives within the program
    arguments: int
    outputs: int
    aliased: int  # outputs that lie in the place of arguments


class Memory(NamedTuple):
    """A row for the network and each container and leaf; `str()` of it is a table with advice."""

    rows: tuple[MemoryRow, ...]
    loss: int  # bytes of the loss's cache
    compiled: tuple[XlaMemory, ...]  # () unless asked for

    @property
    def first(self) -> tuple[MemoryRow, ...]:
        """What to put into `remat` first, the most bytes for an operation foremost; none within another.

        These are containers, or, where none lowers the peak, leaves.
        """
        chosen: list[MemoryRow] = []
        within = [row for row in self.rows if row.path and row.peak > 0]
        containers = [row for row in within if not row.leaf]
        for row in sorted(containers or within, key=lambda row: -row.saved_per_flop):
            if not any(_nested(row.path, other.path) for other in chosen):
                chosen.append(row)
        return tuple(chosen)

    @property
    def advice(self) -> str:
        """One sentence."""
        if not self.first:
            return "remat: nothing to save, the peak would be the same with any layer in it."
        said = [
            f"{row.path} saves {bytes_text(row.saves)} ({bytes_text(row.peak)} of the peak) for "
            f"{flops_text(row.flops)} FLOPs ({row.share:.1%} of a step)"
            for row in self.first[:_NAMED]
        ]
        return f"remat first: {'; then '.join(said)}."

    def __str__(self) -> str:
        head = ["layer", "kind", "cache", "remat saves", "rebuilt", "peak falls", "FLOPs"]
        head += ["of a step", "holds"]
        lines = [
            [
                row.path or "(network)",
                row.name,
                *map(bytes_text, (row.cache, row.saves, row.rebuilt, row.peak)),
                flops_text(row.flops),
                f"{row.share:.1%}",
                ", ".join(f"{name} {bytes_text(size)}" for name, size in row.fields)
                if row.leaf
                else "",
            ]
            for row in self.rows
        ]
        page = [*table(head, lines, left=2), f"loss: {bytes_text(self.loss)}", self.advice]
        if self.compiled:
            head = ["compiled by XLA", "temporary", "arguments", "outputs", "aliased"]
            lines = [[name, *map(bytes_text, sizes)] for name, *sizes in self.compiled]
            page += ["", *table(head, lines)]
        return "\n".join(page)


def memory(
    net: Layer,
    loss: Loss,
    params: PyTree,
    state: PyTree,
    x: PyTree,
    target: PyTree,
    key: Key = None,
    weights: Array | None = None,
    *,
    compiled: bool = False,
) -> Memory:
    """What each layer of `net` caches in a step on such a batch, and what `remat` would save and cost.

    All arguments are arrays or ShapeDtypeStructs; nothing is computed, and only shapes are looked at.
    What is within a `remat` already, and so keeps nothing, has no row.

    Args:
      net: the network.
      loss: that of an example.
      params: the network's.
      state: the network's.
      x: the batch.
      target: the batch's.
      key: for a network that draws random numbers.
      weights: the batch's, if there are any.
      compiled: whether to compile the gradient too and to ask XLA what it takes: by hand as it is; with
        every innermost container (and every leaf in none) in a `remat` where that saves something; and
        by `jax.grad` of the same forward pass.

    Raises:
      ValueError: a container has children but no `rebuild`.
      RuntimeError: `compiled`, and this platform's compiler does not tell.
    """
    kept = kept_by_layers(net, params, state, x, key)
    sizes = summary(net, x)
    rows = tuple(_row(entry, kept, sizes) for entry in kept)
    prediction = jax.eval_shape(net.forward, params, state, x, key)[0]
    batch = (params, state, x, target, key, weights)
    figures: tuple[XlaMemory, ...] = ()
    if compiled:
        everything = remat_at(net, _everything(rows))
        figures = (
            _figures("by hand", value_and_grad(net, loss), batch),
            _figures("by hand, all in remat", value_and_grad(everything, loss), batch),
            _figures("jax.grad", auto_value_and_grad(net, loss), batch),
        )
    of_loss = kept_bytes(lambda *given: loss.forward(*given)[1], prediction, target)
    return Memory(rows, of_loss, figures)


def remat_at(net: Layer, paths: Collection[str]) -> Layer:
    """The network with a `remat` around each container or leaf at these paths, such as ``blocks/block``.

    Its parameters, their paths and its draws are the same.

    Raises:
      ValueError: a path that does not exist, or a container on the way that has no `rebuild`.
    """
    there: set[str] = set()
    result = _remat_at(net, "", frozenset(paths), there)
    if unknown := sorted(set(paths) - there):
        raise ValueError(f"remat_at: expected paths of {sorted(there)}, got {unknown}")
    return result


def _remat_at(layer: Layer, path: str, chosen: frozenset[str], there: set[str]) -> Layer:
    there.add(path)
    if layer.parts:
        parts = {
            name: _remat_at(part, joined(path, name), chosen, there)
            for name, part in layer.parts.items()
        }
        if any(parts[name] is not part for name, part in layer.parts.items()):
            if layer.rebuild is None:
                raise ValueError(
                    f"{path or layer.name}: expected a container with `rebuild`, got none; give its "
                    "Layer a `rebuild(parts)`"
                )
            layer = layer.rebuild(parts)
    return remat(layer) if path in chosen else layer


def _row(entry: KeptBy, kept: Sequence[KeptBy], sizes: Summary) -> MemoryRow:
    inside = [row.forward for row in sizes.rows if _within(row.path, entry.path)]
    flops = sum(inside) if entry.path else sizes.total.forward
    fields = tuple(
        (name or "cache", label.bytes) for name, label in entry.fields if not label.there
    )
    step = sizes.total.forward + sizes.total.backward
    held, saves = total_bytes(entry.labels), _saved(entry, kept[0])
    rebuilt = held // entry.rounds
    total = total_bytes(kept[0].labels)
    peak = max(total - saves, total - saves - _freed_before(entry, kept) + rebuilt)
    return MemoryRow(
        *(entry.path, entry.layer.name, not entry.layer.parts, held, fields),
        *(saves, rebuilt, max(0, total - peak), flops, flops / step if step else 0.0),
    )


def _saved(entry: KeptBy, network: KeptBy) -> int:
    """What is kept less with a `remat` around the entry."""

    def count(kept: KeptBy) -> Counter[Label]:
        return Counter(label for _, label in kept.fields if not label.there)

    elsewhere = frozenset(count(network) - count(entry))
    given = frozenset(label for label in entry.given if not label.there)
    freed = entry.labels - elsewhere - given
    return total_bytes(freed) - total_bytes(given - entry.labels - elsewhere)


def _freed_before(entry: KeptBy, kept: Sequence[KeptBy]) -> int:
    """What only layers after the entry keep: it is gone when backward gets there.

    In a loop, what the layers after it keep of other rounds is not gone; they are left out.
    """
    place = next(i for i, other in enumerate(kept) if other.path == entry.path)
    own = [other for other in kept if not other.layer.parts and not _within(other.path, entry.path)]
    later = {other.path for other in kept[place + 1 :] if entry.rounds == 1 or other.rounds == 1}
    gone = frozenset[Label]().union(*(other.labels for other in own if other.path in later))
    stays = entry.given.union(*(other.labels for other in own if other.path not in later))
    return total_bytes(gone - stays)


def _everything(rows: Sequence[MemoryRow]) -> list[str]:
    """The innermost containers, and the leaves that lie in none of them, that `remat` saves bytes at."""
    outer = {row.path.rpartition("/")[0] for row in rows if not row.leaf and row.path} | {""}
    innermost = [row.path for row in rows if not row.leaf and row.path not in outer]
    loose = [row.path for row in rows if row.leaf and row.path.rpartition("/")[0] in outer]
    saves = {row.path: row.saves for row in rows}
    return [path for path in (*innermost, *loose) if saves[path] > 0]


def _figures(name: str, gradient: Differentiated, batch: tuple[PyTree, ...]) -> XlaMemory:
    def function(*batch: PyTree) -> tuple[PyTree, ...]:
        (value, auxiliary), dparams = gradient(*batch)
        return value, auxiliary.state, dparams

    found = jax.jit(function).lower(*batch).compile().memory_analysis()
    if found is None:
        raise RuntimeError(
            f"memory: expected figures of a compiled program, got none from XLA on "
            f"{jax.default_backend()}; ask without `compiled`"
        )
    return XlaMemory(
        name,
        found.temp_size_in_bytes,
        found.argument_size_in_bytes,
        found.output_size_in_bytes,
        found.alias_size_in_bytes,
    )


def _within(path: str, outer: str) -> bool:
    return not outer or path == outer or path.startswith(f"{outer}/")


def _nested(path: str, other: str) -> bool:
    return _within(path, other) or _within(other, path)
