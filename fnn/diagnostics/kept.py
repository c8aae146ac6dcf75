"""Which arrays a network's caches hold, and how many bytes they are, found by shapes alone.

One array is often in several caches: what an activation gives is what the next layer was given, and a
cache may hold parameters, or the batch. Here each array of a traced forward pass has one `Label`,
wherever it lies, so that it is counted once; and those that are there anyway (parameters, state, the
network's input and key) are not counted at all. What a loop stacks has the bytes of all rounds.
"""

import dataclasses
import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import jax

from fnn.compose.remat import RematCache
from fnn.compose.stacking import Distinct, distinct, restored
from fnn.compose.watch import Around, Looped
from fnn.layer import Key, Layer, PyTree
from fnn.tap import children_by_name
from fnn.tree import paths

_FACTORS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")


@dataclasses.dataclass(frozen=True)
class Label:
    """One array of a forward pass."""

    number: int
    bytes: int
    there: bool  # without any cache, as a parameter is


class KeptBy(NamedTuple):
    """What the cache of one layer or container holds."""

    path: str
    layer: Layer
    fields: tuple[tuple[str, Label], ...]  # of the cache: where in it -> which array
    given: frozenset[
        Label
    ]  # its state, input and key, which `remat` would keep in place of the cache
    rounds: int  # how often it is called in a pass; the labels' bytes are those of all

    @property
    def labels(self) -> frozenset[Label]:
        """The arrays in the cache that would not be there without it."""
        return frozenset(label for _, label in self.fields if not label.there)


class _Noted(NamedTuple):
    cache: PyTree
    given: tuple[PyTree, PyTree, Key]


def kept_by_layers(
    net: Layer, params: PyTree, state: PyTree, x: PyTree, key: Key = None
) -> list[KeptBy]:
    """An entry for each container and leaf of `net`, the network itself first, then in order of calls.

    What lies within a `remat`, which keeps nothing of it, has none. Arguments are arrays or
    ShapeDtypeStructs; nothing is computed with their values.

    Raises:
      ValueError: a container has children but no `rebuild`.
    """
    noted = _noted(net, "")

    def forward(params: PyTree, state: PyTree, x: PyTree, key: Key) -> Distinct:
        cache = noted.forward(params, state, x, key)[2]
        return distinct(cache, known=jax.tree.leaves((params, state, x, key)))

    once = jax.eval_shape(forward, params, state, x, key)
    known = [Label(i, 0, True) for i in range(len(jax.tree.leaves((params, state, x, key))))]
    kept = [Label(len(known) + i, bytes_of(leaf), False) for i, leaf in enumerate(once.kept)]
    return list(_walk(net, restored(Distinct(kept, once.plan), known=known), "", 1))


def kept_bytes(function: Callable[..., PyTree], *args: PyTree) -> int:
    """The bytes of what ``function(*args)`` returns, each array once and those of `args` not at all."""

    def traced(*args: PyTree) -> Distinct:
        return distinct(function(*args), known=jax.tree.leaves(args))

    return bytes_of(jax.eval_shape(traced, *args).kept)


def bytes_of(tree: PyTree) -> int:
    """The bytes of all arrays of a tree, or of what has their shapes and dtypes."""
    return sum(math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))


def total_bytes(labels: Iterable[Label]) -> int:
    """The bytes of these arrays, each counted once."""
    return sum(label.bytes for label in frozenset(labels))


def bytes_text(count: int) -> str:
    """Three digits and a unit of 1024 of the one before, such as ``1.53 MiB``."""
    size, power = float(abs(count)), 0
    while size >= 999.5 and power < len(_FACTORS) - 1:
        size, power = size / 1024, power + 1
    digits = f"{size:#.3g}".rstrip(".") if power else str(abs(count))
    return f"{'-' if count < 0 else ''}{digits} {_FACTORS[power]}"


def _noted(layer: Layer, path: str) -> Layer:
    """The layer, whose caches hold what each container and leaf was given."""
    inner = layer
    if layer.parts:
        if layer.rebuild is None:
            raise ValueError(
                f"{path or layer.name}: expected a container with `rebuild`, got one with the parts "
                f"{list(layer.parts)} and none; give its Layer a `rebuild(parts)`"
            )
        inner = layer.rebuild(
            {name: _noted(part, joined(path, name)) for name, part in layer.parts.items()}
        )

    def forward(
        params: PyTree, state: PyTree, x: PyTree, key: Key
    ) -> tuple[PyTree, PyTree, _Noted]:
        y, new_state, cache = inner.forward(params, state, x, key)
        return y, new_state, _Noted(cache, (state, x, key))

    return layer._replace(forward=forward)


def joined(path: str, name: str) -> str:
    """The path of the child `name` of the container at `path`."""
    return f"{path}/{name}" if path else name


def _walk(layer: Layer, noted: _Noted, path: str, rounds: int) -> Iterator[KeptBy]:
    fields = tuple(paths(_stripped(noted.cache)))
    given = frozenset(jax.tree.leaves(noted.given))
    yield KeptBy(path, layer, fields, given, rounds)
    cache = noted.cache
    while isinstance(cache, Around):
        cache = cache.cache
    if not layer.parts or isinstance(cache, RematCache):
        return
    if isinstance(cache, Looped):
        rounds *= cache.rounds.value
        cache = restored(cache.children, known=cache.fixed)
    children = children_by_name(cache, layer.parts)
    for name, part in layer.parts.items():
        yield from _walk(part, children[name], joined(path, name), rounds)


def _stripped(cache: PyTree) -> PyTree:
    """The cache without what `_noted` put there, and with the trees that loops have taken apart."""

    def node(part: Any) -> Any:
        if isinstance(part, _Noted):
            return _stripped(part.cache)
        if isinstance(part, Looped):
            return {
                **_stripped(restored(part.children, known=part.fixed)),
                **({"own": part.own} if jax.tree.leaves(part.own) else {}),
            }
        return part

    return jax.tree.map(node, cache, is_leaf=lambda part: isinstance(part, _Noted | Looped))
