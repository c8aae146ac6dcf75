"""What passed through every leaf layer, inside a compiled program: `fnn.tap` without unrolling loops.

The rounds of a loop stay axes of the arrays, so that a program that looks at them is as large for 48
blocks as for one. There are two kinds. The blocks of a `repeat` are layers of their own, each with its
parameters; the steps of an `over_time` are one layer that was called again and again.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from fnn.compose.over_time import Ends
from fnn.compose.stacking import restored
from fnn.compose.watch import Around, Kept, Looped, Told
from fnn.diagnostics.parts import examples_in
from fnn.layer import Array, Key, Layer, PyTree
from fnn.losses.loss import Loss
from fnn.tap import children_by_name

BLOCK = "[*]"  # what stands in a path for the number of a block


class Seen(NamedTuple):
    """What one leaf layer saw in a pass. All arrays have two axes in front: one of the blocks that it is
    the layer of, and one of all steps in time, each of length 1 where there is no such loop.
    """

    path: str  # such as blocks/block[*]/mlp/expand
    layer: Layer
    blocks: tuple[int, ...]  # how many, of each loop of blocks, from the outermost
    params: PyTree
    state: PyTree
    x: PyTree
    y: PyTree
    dy: PyTree  # None if there was no backward pass; so are the next two
    dparams: PyTree
    dx: PyTree


class _Loop(NamedTuple):
    rounds: int
    time: bool


def seen_by_leaves(net: Layer, cache: PyTree, told: PyTree = None) -> list[Seen]:
    """Every leaf's entry, in the order of calls, from a pass of the network that `fnn.tapped` makes.

    `cache` is what its forward pass gave, `told` what its backward gave for dparams; None without one.
    """
    known: dict[tuple[int, tuple[_Loop, ...]], tuple[Any, Any]] = {}
    return [_arranged(*found, known) for found in _walk(net, cache, told, "", ())]


def share_of_mean(
    data: tuple[PyTree, PyTree, Array | None],
) -> Callable[[Array, Array | None], Array]:
    """``share(losses, weights)``: dL/dlosses of a part of the data, for the mean L over all of it.

    With weights ``w / Σ w`` over all, without ``1 / count``, where every example has as many losses.
    """
    x, _, every = data
    examples = examples_in(x)

    def share(losses: Array, weights: Array | None) -> Array:
        if losses.ndim < 1 or losses.shape[0] < 1:
            raise ValueError(f"expected a loss an example, got losses of shape {losses.shape}")
        if weights is None or every is None:
            return jnp.full(
                losses.shape, 1 / (losses.size // losses.shape[0] * examples), losses.dtype
            )
        if weights.shape != losses.shape:
            raise ValueError(
                f"expected weights of the losses' shape {losses.shape}, got shape {weights.shape}"
            )
        return weights.astype(losses.dtype) / every.astype(losses.dtype).sum()

    return share


def examined(
    watched: Layer,
    net: Layer,
    loss: Loss,
    params: PyTree,
    state: PyTree,
    data: tuple[PyTree, PyTree, Array | None],
    key: Key,
    share: Callable[[Array, Array | None], Array],
) -> tuple[Array, list[Seen]]:
    """A forward and a backward pass: the part that these examples have in L, and what each leaf saw.

    Args:
      watched: ``tapped(net)``.
      net: the network.
      loss: that of an example.
      params: the network's.
      state: the network's.
      data: x, target and weights, or None for these.
      key: or None.
      share: see `share_of_mean`.
    """
    x, target, weights = data
    prediction, _, cache = watched.forward(params, state, x, key)
    losses, loss_cache = loss.forward(prediction, target)
    shares = share(losses, weights)
    counted = losses if weights is None else jnp.where(weights.astype(bool), losses, 0)
    told, _ = watched.backward(params, cache, loss.backward(loss_cache, shares))
    return (shares * counted).sum(), seen_by_leaves(net, cache, told)


def over_blocks(function: Callable[..., Any], seen: Seen, *more: PyTree) -> Any:
    """``function(seen, *more)`` for each of the blocks: an axis in front of the arrays that it gives."""
    arrays = (seen.params, seen.state, seen.x, seen.y, seen.dy, seen.dparams, seen.dx)

    def one(arrays: tuple[PyTree, ...], *more: PyTree) -> Any:
        return function(Seen(seen.path, seen.layer, (), *arrays), *more)

    return each_block(one, arrays, *more)


def each_block(function: Callable[..., Any], *trees: PyTree) -> Any:
    """``function(*trees)`` along the first axis; where that is of length 1, without `vmap`."""
    if any(leaf.shape[0] != 1 for leaf in jax.tree.leaves(trees)):
        return jax.vmap(function)(*trees)
    alone = function(*jax.tree.map(lambda leaf: leaf[0], trees))
    return jax.tree.map(lambda leaf: leaf[None], alone)


def named(entries: Sequence[Seen]) -> list[tuple[str, int, int]]:
    """(path, entry, block) of each block's layers, in the order of calls; in the path is the block's
    number, as in ``blocks/block[3]/mlp/expand``.
    """
    first: dict[str, int] = {}
    for i, entry in enumerate(entries):
        parts = entry.path.split(BLOCK)
        for depth in range(1, len(parts)):
            first.setdefault(BLOCK.join(parts[:depth]), i)
    found = []
    for i, entry in enumerate(entries):
        parts = entry.path.split(BLOCK)
        for block, index in enumerate(np.ndindex(entry.blocks)):
            order: list[int] = []
            path = parts[0]
            for depth, number in enumerate(index, start=1):
                order += [first[BLOCK.join(parts[:depth])], number]
                path += f"[{number}]{parts[depth]}"
            found.append(((*order, i), path, i, block))
    return [(path, i, block) for _, path, i, block in sorted(found)]


def _walk(
    layer: Layer, cache: PyTree, told: PyTree, path: str, loops: tuple[_Loop, ...]
) -> Iterator[tuple[str, Layer, Kept, Told | None, tuple[_Loop, ...]]]:
    if not layer.parts:
        yield path, layer, cache, told, loops
        return
    while isinstance(cache, Around):
        cache = cache.cache
    mark = ""
    if isinstance(cache, Looped):
        loop = _Loop(cache.rounds.value, isinstance(cache.own, Ends))
        fixed = [None if a is None else _stacked(a, len(loops), loop.rounds) for a in cache.fixed]
        cache, loops = restored(cache.children, known=fixed), (*loops, loop)
        mark = "" if loop.time else BLOCK
    children = children_by_name(cache, layer.parts)
    for name, part in layer.parts.items():
        below = None if told is None else told[name]
        place = f"{path}/{name}{mark}" if path else f"{name}{mark}"
        yield from _walk(part, children[name], below, place, loops)


def _stacked(array: Any, axis: int, rounds: int) -> Any:
    """The array with an axis along which it is the same in all rounds."""
    wide = jnp.expand_dims(array, axis)
    return jnp.broadcast_to(wide, (*wide.shape[:axis], rounds, *wide.shape[axis + 1 :]))


def _arranged(
    path: str,
    layer: Layer,
    kept: Kept,
    told: Told | None,
    loops: tuple[_Loop, ...],
    known: dict[tuple[int, tuple[_Loop, ...]], tuple[Any, Any]],
) -> Seen:
    """The entry with its axes in order. What is one array before is one after, as `known` remembers."""
    blocks = [axis for axis, loop in enumerate(loops) if not loop.time]
    times = [axis for axis, loop in enumerate(loops) if loop.time]

    count, steps = (math.prod(loops[axis].rounds for axis in axes) for axes in (blocks, times))

    def leaf(array: Any) -> Any:
        if (id(array), loops) not in known:
            ordered = jnp.moveaxis(array, [*blocks, *times], range(len(loops)))
            result = ordered.reshape(count, steps, *ordered.shape[len(loops) :])
            known[id(array), loops] = (array, result)
        return known[id(array), loops][1]

    params, state, _, x, y = kept.seen
    gradients = (None, None, None) if told is None else (told.dy, told.dparams, told.dx)
    entries = jax.tree.map(leaf, (params, state, x, y, *gradients))
    return Seen(path, layer, tuple(loops[axis].rounds for axis in blocks), *entries)
