"""What a network is made of: each leaf layer's shape, size and cost, found without running it.

The bytes of a cache are those that are kept from the forward to the backward pass and would not be there
anyway: an array that several caches hold (what an activation gives is the next layer's x) counts for the
first layer that keeps it, and parameters, state, and the network's own input count for none.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import jax

from fnn.batch import check_input
from fnn.compose.frozen import FrozenState
from fnn.diagnostics.flops import flops_by_call
from fnn.diagnostics.kept import Label, bytes_of, bytes_text, kept_by_layers, total_bytes
from fnn.diagnostics.summary_html import html_table
from fnn.layer import Key, Layer, PyTree, map_layers
from fnn.tables import table

_FORWARD, _BACKWARD = "fnn forward of ", "fnn backward of "
_FACTORS = ("", "k", "M", "G", "T", "P")
_HEAD = (
    *("layer", "kind", "output", "parameters", "state", "forward FLOPs", "backward FLOPs"),
    *("cache", "parameter bytes", "state bytes"),
)


class SummaryRow(NamedTuple):
    """One leaf layer in a training pass and its backward pass.

    Attributes:
      path: such as block_1/conv_1.
      name: the layer's, such as linear(10).
      output: the shape of y, such as 128×28×28×32, and its dtype if that is not float32.
      parameters: elements.
      state: elements.
      forward: operations.
      backward: operations.
      cache: bytes that no layer before it keeps.
      parameter_bytes: those of the parameters.
      state_bytes: those of the state.
      rounds: how often loops call it: the numbers are of all rounds, the output is of one.
    """

    path: str
    name: str
    output: str
    parameters: int
    state: int
    forward: int
    backward: int
    cache: int
    parameter_bytes: int
    state_bytes: int
    rounds: int = 1


class Summary(NamedTuple):
    """A row a leaf layer, in the order in which they are called; `str()` of it is a table.

    Attributes:
      rows: the leaf layers.
      containers: between the leaves: the sum of a residual, what a `remat` block keeps.
      total: of the whole network; its output is the network's.
    """

    rows: tuple[SummaryRow, ...]
    containers: SummaryRow
    total: SummaryRow

    def __str__(self) -> str:
        names, rule, *body, total = table(_HEAD, [*self._lines(), _cells(self.total)], left=3)
        return "\n".join([names, rule, *body, rule, total])

    def to_html(self, caption: str = "Layers of the network") -> str:
        """The same as a `<table>` for a page: a caption, headers of rows and columns, no script."""
        return html_table(caption, _HEAD, self._lines(), _cells(self.total), left=2)

    def _lines(self) -> list[list[str]]:
        own = self.containers
        between = (own,) if own.forward or own.backward or own.cache else ()
        return [_cells(row) for row in (*self.rows, *between)]


class _Record(NamedTuple):
    """What a leaf was called with, as seen while tracing."""

    name: str
    y: PyTree


def summary(net: Layer, x: PyTree) -> Summary:
    """Shapes, sizes and operations of every leaf layer of `net` for a batch shaped like `x`.

    Forward is the training pass. Backward gives the gradients of all parameters; the gradient of the
    network's own input, which no training step needs, is not counted, and neither are the loss and the
    optimizer. What is done twice (in a scan, or again in backward) counts twice. How operations are
    counted: see `fnn.diagnostics.flops`.

    Args:
      net: the network.
      x: its input: arrays or ShapeDtypeStructs. Nothing is computed with their values.

    Raises:
      TypeError: it holds what is neither, such as a shape.
    """
    check_input(x, "summary")
    key = jax.random.key(0)
    records: dict[str, _Record] = {}
    marked = map_layers(lambda path, leaf: _marked(path, leaf, records), net)

    def differentiate(params: PyTree, state: PyTree, x: PyTree, key: Key) -> PyTree:
        y, next_state, cache = marked.forward(params, state, x, key)
        dparams, _ = marked.backward(params, cache, y)  # the cotangent has the shapes of y
        return y, next_state, dparams

    params, state = jax.eval_shape(net.init, key, x)
    y, _, _ = jax.eval_shape(net.forward, params, state, x, key)
    kept = kept_by_layers(net, params, state, x, key)
    rounds = {each.path: each.rounds for each in kept}
    caches, all_kept = _first_kept((k.path, k.labels) for k in kept if not k.layer.parts), kept[0]
    program = jax.make_jaxpr(differentiate)(params, state, x, key)
    forward_program = jax.make_jaxpr(marked.forward)(params, state, x, key)
    names = frozenset(mark + path for path in records for mark in (_FORWARD, _BACKWARD))
    flops, between = flops_by_call(program, names), flops_by_call(forward_program, names)[""]
    rows = tuple(
        SummaryRow(
            path or "(network)",
            record.name,
            _shapes(record.y),
            _elements(_held(params, path)),
            _elements(_held(state, path)),
            flops[_FORWARD + path],
            flops[_BACKWARD + path],
            caches.get(path, 0),  # within a `remat` there is none
            bytes_of(_held(params, path)),
            bytes_of(_held(state, path)),
            _rounds(rounds, path),
        )
        for path, record in records.items()
    )
    cache = total_bytes(all_kept.labels)
    of_containers = cache - sum(row.cache for row in rows)
    containers = SummaryRow(
        *("(between)", net.name, "", 0, 0, between, flops[""] - between, of_containers, 0, 0)
    )
    total = SummaryRow(
        "total",
        net.name,
        _shapes(y),
        _elements(params),
        _elements(state),
        sum(row.forward for row in (*rows, containers)),
        sum(row.backward for row in (*rows, containers)),
        cache,
        bytes_of(params),
        bytes_of(state),
    )
    return Summary(rows, containers, total)


def _marked(path: str, leaf: Layer, records: dict[str, _Record]) -> Layer:
    """The leaf with its two passes as calls of jitted functions that are named after its path."""

    def forward(
        params: PyTree, state: PyTree, x: PyTree, key: Key
    ) -> tuple[PyTree, PyTree, PyTree]:
        result = _call(_FORWARD + path, leaf.forward, params, state, x, key)
        records.setdefault(path, _Record(leaf.name, result[0]))
        return result

    def backward(params: PyTree, cache: PyTree, dy: PyTree) -> tuple[PyTree, PyTree]:
        return _call(_BACKWARD + path, leaf.backward, params, cache, dy)

    return leaf._replace(forward=forward, backward=backward)


def _first_kept(caches: Iterable[tuple[str, frozenset[Label]]]) -> dict[str, int]:
    """The bytes of each layer's cache that are in none before it."""
    found, seen = {}, frozenset[Label]()
    for path, labels in caches:
        found[path] = total_bytes(labels - seen)
        seen |= labels
    return found


def _rounds(known: Mapping[str, int], path: str) -> int:
    """How often the layer at `path` is called: as what it is in, if that is in a `remat`."""
    while path not in known:
        path = path.rpartition("/")[0]
    return known[path]


def _held(tree: PyTree, path: str) -> list[PyTree]:
    """What the network's params, or its state, hold for the leaf at `path`: what is stacked for the
    rounds of a loop counts so, what a frozen layer has is state, and what is shared is held once.
    """
    held = [tree]
    for name in path.split("/") if path else ():
        held = [below[name] for below in _opened(held) if name in below]
    return held


def _opened(held: list[PyTree]) -> list[Mapping[str, PyTree]]:
    found: list[Mapping[str, PyTree]] = []
    for tree in held:
        if isinstance(tree, FrozenState):
            found += _opened([tree.params, tree.state])
        elif isinstance(tree, Mapping):
            found.append(tree)
    return found


def _call(name: str, function: Callable[..., Any], *args: PyTree) -> Any:
    def named(*args: PyTree) -> Any:
        return function(*args)

    named.__name__ = name
    return jax.jit(named)(*args)


def _cells(row: SummaryRow) -> list[str]:
    return [
        row.path,
        f"{row.name} × {row.rounds}" if row.rounds > 1 else row.name,
        row.output,
        f"{row.parameters:,}",
        f"{row.state:,}",
        flops_text(row.forward),
        flops_text(row.backward),
        *map(bytes_text, (row.cache, row.parameter_bytes, row.state_bytes)),
    ]


def flops_text(count: int) -> str:
    """Three digits and a factor, such as ``1.85 G``."""
    power = 0
    while count / 1000**power >= 999.5 and power < len(_FACTORS) - 1:
        power += 1
    digits = f"{count / 1000**power:#.3g}".rstrip(".")
    return f"{digits} {_FACTORS[power]}" if power else str(count)


def _shapes(tree: PyTree) -> str:
    def leaf(x: Any) -> str:
        shape = "×".join(map(str, x.shape)) or "scalar"
        return shape if x.dtype == "float32" else f"{shape} {x.dtype}"

    return ", ".join(map(leaf, jax.tree.leaves(tree)))


def _elements(tree: PyTree) -> int:
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(tree))
