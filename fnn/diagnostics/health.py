"""How a network is: what every layer gives, is told of its gradient, and makes of it, in one pass.

    look = health(net, loss)
    found = look(params, state, x, target)
    print(found)                    # a row a layer, and flags
    for finding in findings(found): …

A training pass and its backward pass, with the sums taken while the arrays are there: no second pass,
and nothing of the size of the batch comes out.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from fnn.diagnostics.layer_pass import Running, begun, finished, joined, running
from fnn.diagnostics.layer_record import LayerHealth
from fnn.diagnostics.parts import examples_in, over_parts, thinned
from fnn.diagnostics.passes import BLOCK, examined, over_blocks, share_of_mean
from fnn.diagnostics.statistics import SAMPLE, binned
from fnn.layer import Array, Key, Layer, PyTree, Static, as_arrays
from fnn.losses import Loss
from fnn.tap import tapped


class Health(NamedTuple):
    """What a pass over a batch showed; a tree of small arrays, and `str()` of it is a table."""

    layers: tuple[LayerHealth, ...]  # every leaf layer, in the order of calls
    loss: Array  # (), the mean
    examples: Static[int]  # how many were looked at

    @property
    def rows(self) -> tuple[LayerHealth, ...]:
        """The layers with NumPy arrays, and one entry for each block of a `repeat`."""
        return tuple(_expanded(jax.device_get(self.layers)))

    def __str__(self) -> str:
        from fnn.diagnostics.health_text import health_text  # it needs this module's types

        return health_text(self)


def health(
    net: Layer,
    loss: Loss,
    *,
    batch_size: int | None = None,
    subset: int | None = None,
    spectra: int = 256,
    histogram_sample: int = SAMPLE,
) -> Callable[..., Health]:
    """``look(params, state, x, target, key=None, weights=None) -> Health``, pure and jitted.

    Of the mean loss L over the examples, as a train step takes it: `weights` weigh L and with it all
    gradients, while activations of all examples count alike. See `LayerHealth` for what is found of each
    leaf layer. The blocks of a `repeat` are layers of their own, axes in front in `Health.layers` and rows
    in `Health.rows`; the steps of an `over_time` are one layer, all of whose calls count together.

    Args:
      net: the network. Its parameters and state stay as they are.
      loss: the loss of an example.
      batch_size: examples a pass; None for all at once. With fewer than there are, a scan over passes of
        as many, and one over what is left, so that a whole data set is seen in the memory of one batch:
        the statistics combine exactly, and L is the mean over all. Batch norm then has the statistics of
        each pass, and the key of pass i is ``fold_in(key, i)``.
      subset: looks at this many of the examples alone, at equal distances, for a cheaper look.
      spectra: the widest layer whose effective rank is found, from a matrix of width × width.
      histogram_sample: at most about so many elements of an array go into a histogram, in each pass.

    Raises:
      ValueError: no examples, an option that is not positive, or more in `subset` than examples.
    """
    for name, given in (("batch_size", batch_size), ("subset", subset)):
        if given is not None and given < 1:
            raise ValueError(f"health: expected {name} of at least 1, or None, got {given}")
    if spectra < 0 or histogram_sample < 1:
        raise ValueError(
            "health: expected spectra >= 0 and histogram_sample >= 1, got "
            f"{spectra} and {histogram_sample}"
        )
    watched = tapped(net)

    def function(
        params: PyTree,
        state: PyTree,
        x: PyTree,
        target: PyTree,
        key: Key = None,
        weights: Array | None = None,
    ) -> Health:
        data = as_arrays((x, target, weights))
        data = data if subset is None else thinned(data, subset)
        share = share_of_mean(data)
        leaves: list[tuple[str, Layer, tuple[int, ...]]] = []

        def one(data: PyTree, key: Key) -> tuple[Array, list[Running]]:
            part, seen = examined(watched, net, loss, params, state, data, key, share)
            leaves[:] = [(entry.path, entry.layer, entry.blocks) for entry in seen]
            look = partial(running, spectra=spectra, sample=histogram_sample)
            return part, binned([over_blocks(look, entry) for entry in seen])

        def merge(
            a: tuple[Array, list[Running]], b: tuple[Array, list[Running]]
        ) -> tuple[Array, list[Running]]:
            return a[0] + b[0], [
                _over(joined, blocks)(x, y)
                for x, y, (_, _, blocks) in zip(a[1], b[1], leaves, strict=True)
            ]

        def begin(like: tuple[Array, list[Running]]) -> tuple[Array, list[Running]]:
            return jnp.zeros(like[0].shape, like[0].dtype), [begun(sums) for sums in like[1]]

        mean, sums = over_parts(one, merge, begin, data, key, batch_size)
        layers = tuple(finished(*leaf, own) for leaf, own in zip(leaves, sums, strict=True))
        return Health(binned(layers), mean, Static(examples_in(data)))

    return jax.jit(function)


def _over(function: Callable[..., Any], blocks: tuple[int, ...]) -> Callable[..., Any]:
    """The function for each of the blocks."""
    for _ in blocks:
        function = jax.vmap(function)
    return function


def _expanded(layers: Sequence[LayerHealth]) -> Iterator[LayerHealth]:
    """One entry for each block: all layers of the first, then all of the second."""
    i = 0
    while i < len(layers):
        before, mark, _ = layers[i].path.value.partition(BLOCK)
        if not mark:
            yield layers[i]
            i += 1
            continue
        inside = [layers[i]]
        for layer in layers[i + 1 :]:
            if not layer.path.value.startswith(before + BLOCK):
                break
            inside.append(layer)
        for block in range(inside[0].blocks.value[0]):
            yield from _expanded([_at(layer, block) for layer in inside])
        i += len(inside)


def _at(layer: LayerHealth, block: int) -> LayerHealth:
    arrays = jax.tree.map(lambda leaf: leaf[block], layer)
    return arrays._replace(
        path=Static(layer.path.value.replace(BLOCK, f"[{block}]", 1)),
        blocks=Static(layer.blocks.value[1:]),
    )
