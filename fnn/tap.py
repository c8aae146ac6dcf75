"""Seeing inside a network: what every layer received, gave back, and was told of its gradient.

Functional, without hooks: `tapped` wraps every leaf layer of a network in a layer that keeps its input
and output in the cache and hands its cotangents out with the parameter gradients. The result is a
`Layer` like any other, on the same parameters, for `jit`, `vmap` and `grad`.
"""

from typing import NamedTuple

import jax

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


class _Kept(NamedTuple):
    """The cache of a tapped layer."""

    cache: PyTree
    seen: tuple[PyTree, PyTree, PyTree, PyTree, PyTree]  # params, state, key, x, y


class _Told(NamedTuple):
    """The `dparams` of a tapped layer."""

    dparams: PyTree
    dy: PyTree
    dx: PyTree


def tapped(net: Layer) -> Layer:
    """The same network, whose caches and parameter gradients hold what passed through each leaf."""

    def tap(path: str, layer: Layer) -> Layer:
        del path  # every leaf is tapped alike

        def forward(
            params: PyTree, state: PyTree, x: PyTree, key: Key
        ) -> tuple[PyTree, PyTree, _Kept]:
            y, new_state, cache = layer.forward(params, state, x, key)
            return y, new_state, _Kept(cache, (params, state, key, x, y))

        def backward(params: PyTree, kept: _Kept, dy: PyTree) -> tuple[_Told, PyTree]:
            dparams, dx = layer.backward(params, kept.cache, dy)
            return _Told(dparams, dy, dx), dx

        return layer._replace(forward=forward, backward=backward)

    return map_layers(tap, net)


def passages(
    net: Layer, loss: Loss, params: PyTree, state: PyTree, x: PyTree, target: Array, key: Key = None
) -> dict[str, Passage]:
    """What each leaf layer saw in a step on the mean loss of this batch: path -> `Passage`, in order.

    A container that runs a child several times within one cache entry (a scan) shows the stacked values.
    """
    leaves: dict[str, Layer] = {}

    def collect(path: str, layer: Layer) -> Layer:
        leaves[path] = layer
        return layer

    map_layers(collect, net)
    watched = tapped(net)

    def run(
        params: PyTree, state: PyTree, x: PyTree, target: Array, key: Key
    ) -> tuple[PyTree, PyTree]:
        prediction, _, cache = watched.forward(params, state, x, key)
        losses, loss_cache = loss.forward(prediction, target)
        dlosses = jax.numpy.full(losses.shape, 1 / losses.size, losses.dtype)
        told, _ = watched.backward(params, cache, loss.backward(loss_cache, dlosses))
        return cache, told

    cache, told = jax.jit(run)(params, state, x, target, key)
    found: dict[str, Passage] = {}
    for path, layer in leaves.items():
        kept, gradients = _at(cache, path), _at(told, path)
        seen_params, seen_state, seen_key, seen_x, seen_y = kept.seen
        found[path] = Passage(
            layer, seen_params, seen_state, seen_key, seen_x, seen_y,
            gradients.dy, gradients.dparams, gradients.dx,
        )  # fmt: skip
    return found


def _at(tree: PyTree, path: str) -> PyTree:
    """The subtree at a path of child names; containers hold their children in dictionaries."""
    for name in path.split("/") if path else ():
        tree = tree[name]
    return tree
