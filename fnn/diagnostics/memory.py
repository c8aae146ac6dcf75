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

import jax

from fnn.batch import check_input
from fnn.compose.remat import remat
from fnn.diagnostics.kept import (
    KeptBy,
    Label,
    joined,
    kept_by_layers,
    kept_bytes,
    total_bytes,
)
from fnn.diagnostics.memory_results import Memory, MemoryRow, XlaMemory, within
from fnn.diagnostics.summary import Summary, summary
from fnn.gradient import Differentiated, auto_value_and_grad, value_and_grad
from fnn.layer import Array, Key, Layer, PyTree
from fnn.losses import Loss


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
      TypeError: `x` holds what is neither, such as a shape.
      ValueError: a container has children but no `rebuild`.
      RuntimeError: `compiled`, and this platform's compiler does not tell.
    """
    check_input(x, "memory")
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
    inside = [row.forward for row in sizes.rows if within(row.path, entry.path)]
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
    own = [other for other in kept if not other.layer.parts and not within(other.path, entry.path)]
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
