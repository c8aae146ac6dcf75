"""Seeing inside a network: what every layer received, gave back, and was told of its gradient.

Functional, without hooks: `tapped` wraps every leaf layer of a network in a layer that keeps its input
and output in the cache and hands its cotangents out with the parameter gradients. The result is a
`Layer` like any other, on the same parameters, for `jit`, `vmap` and `grad`.
"""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

from fnn.compose.stacking import restored
from fnn.compose.watch import Around, Kept, Looped, Told
from fnn.gradient import mean_over_examples
from fnn.layer import Array, Key, Layer, PyTree, map_layers
from fnn.losses.loss import Loss


class Passage(NamedTuple):
    """What one leaf layer saw in a training step."""

    layer: Layer
    params: PyTree
    state: PyTree
    key: Key
    x: PyTree
    y: PyTree
    dy: PyTree
    dparams: PyTree
    dx: PyTree


def tapped(net: Layer) -> Layer:
    """The same network, whose caches and parameter gradients hold what passed through each leaf."""

    def tap(path: str, layer: Layer) -> Layer:
        del path  # every leaf is tapped alike

        def forward(
            params: PyTree, state: PyTree, x: PyTree, key: Key
        ) -> tuple[PyTree, PyTree, Kept]:
            y, new_state, cache = layer.forward(params, state, x, key)
            return y, new_state, Kept(cache, (params, state, key, x, y))

        def backward(params: PyTree, kept: Kept, dy: PyTree) -> tuple[Told, PyTree]:
            dparams, dx = layer.backward(params, kept.cache, dy)
            return Told(dparams, dy, dx), dx

        return layer._replace(forward=forward, backward=backward)

    return map_layers(tap, net)


def passages(
    net: Layer,
    loss: Loss,
    params: PyTree,
    state: PyTree,
    x: PyTree,
    target: PyTree,
    key: Key = None,
    weights: Array | None = None,
) -> dict[str, Passage]:
    """What each leaf layer saw in a step on the mean loss of this batch: path -> `Passage`, in order.

    A container that runs a child in a loop has an entry for each round: ``blocks/block[3]/linear_1``.
    """
    watched = tapped(net)

    def run(
        params: PyTree, state: PyTree, x: PyTree, target: PyTree, key: Key, weights: Array | None
    ) -> tuple[PyTree, PyTree]:
        prediction, _, cache = watched.forward(params, state, x, key)
        losses, loss_cache = loss.forward(prediction, target)
        _, dlosses = mean_over_examples(losses, weights)
        told, _ = watched.backward(params, cache, loss.backward(loss_cache, dlosses))
        return cache, told

    cache, told = jax.jit(run)(params, state, x, target, key, weights)
    return {
        path: Passage(leaf, *kept.seen, seen.dy, seen.dparams, seen.dx)
        for path, leaf, kept, seen in watched_leaves(net, cache, told)
    }


def watched_leaves(
    layer: Layer, cache: PyTree, told: PyTree = None, path: str = ""
) -> Iterator[tuple[str, Layer, Kept, Any]]:
    """(path, leaf, what it kept, what it was told) of every leaf below `layer`, in the order of calls.

    `cache` and `told` are those of the network with watched leaves, as `tapped` makes it; with None for
    `told`, where no backward pass was made, None is what each was told.
    """
    if not layer.parts:
        yield path, layer, cache, told
        return
    while isinstance(cache, Around):
        cache = cache.cache
    if not isinstance(cache, Looped):
        children = children_by_name(cache, layer.parts)
        for name, part in layer.parts.items():
            below = None if told is None else told[name]
            yield from watched_leaves(part, children[name], below, _joined(path, name))
        return
    rounds = range(cache.rounds.value)
    for i in reversed(rounds) if cache.backwards.value else rounds:
        children = restored(_round(cache.children, i), known=cache.fixed)
        gradients = _round(told, i)
        for name, part in layer.parts.items():
            below = None if told is None else gradients[name]
            yield from watched_leaves(part, children[name], below, _joined(path, f"{name}[{i}]"))


def children_by_name(cache: PyTree, parts: Mapping[str, Layer]) -> Mapping[str, PyTree]:
    """The children's caches: a container's cache is their dictionary, or a tuple that holds it."""
    for candidate in (cache, *(cache if isinstance(cache, tuple) else ())):
        if isinstance(candidate, Mapping) and set(parts) <= set(candidate):
            return candidate
    raise TypeError(
        f"expected a container's cache to hold those of {sorted(parts)} by name, got "
        f"{type(cache).__name__}; a layer that does not keep them apart is a leaf, without `parts`"
    )


def _joined(path: str, name: str) -> str:
    return f"{path}/{name}" if path else name


def _round(tree: PyTree, i: int) -> PyTree:
    """The leaves' elements i; taken by NumPy where they are no keys, since that compiles nothing."""

    def at(leaf: Any) -> Any:
        if jax.numpy.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            return leaf[i]
        return jax.numpy.asarray(np.asarray(leaf)[i])

    return jax.tree.map(at, tree)
