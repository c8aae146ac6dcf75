"""What `memory` found, as values, as a table and as advice."""

from typing import NamedTuple

from fnn.diagnostics.kept import bytes_text
from fnn.diagnostics.summary import flops_text
from fnn.tables import table

_NAMED = 3  # as many in the line of advice
_HELD = 2  # fields of a cache that the table names


class MemoryRow(NamedTuple):
    """What one layer or container keeps, and what `remat` around it would change.

    Attributes:
      path: "" for the network itself.
      name: the layer's, such as linear(10).
      leaf: whether it has no layers in it.
      cache: bytes, of all that lies in it, each array once.
      fields: those of the cache, with their bytes.
      saves: bytes that are kept less; negative where its input is larger than its cache.
      rebuilt: bytes that backward builds again.
      peak: bytes that the peak falls by.
      flops: operations to run its leaves forward again.
      share: what these are of the step's operations.
    """

    path: str
    name: str
    leaf: bool
    cache: int
    fields: tuple[tuple[str, int], ...]
    saves: int
    rebuilt: int
    peak: int
    flops: int
    share: float

    @property
    def saved_per_flop(self) -> float:
        """Bytes of the peak; ∞ where nothing has to be computed."""
        return self.peak / self.flops if self.flops else float("inf")


class XlaMemory(NamedTuple):
    """XLA's own figures for a compiled value and gradient, in bytes.

    Attributes:
      name: of the program.
      temporary: caches and all else that lives within the program.
      arguments: parameters, state and batch.
      outputs: gradients, state and loss.
      aliased: outputs that lie in the place of arguments.
    """

    name: str
    temporary: int
    arguments: int
    outputs: int
    aliased: int


class Memory(NamedTuple):
    """A row for the network and each container and leaf; `str()` of it is a table with advice.

    Attributes:
      rows: the network first, then each container and leaf in it.
      loss: bytes of the loss's cache.
      compiled: what XLA says; () unless asked for.
    """

    rows: tuple[MemoryRow, ...]
    loss: int
    compiled: tuple[XlaMemory, ...]

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
        held = [_held(row) if row.leaf else "" for row in self.rows]
        wide = max(map(len, held), default=0)
        head += ["of a step", "holds".ljust(wide)]
        lines = [
            [
                row.path or "(network)",
                row.name,
                *map(bytes_text, (row.cache, row.saves, row.rebuilt, row.peak)),
                flops_text(row.flops),
                f"{row.share:.1%}",
                holds.ljust(wide),
            ]
            for row, holds in zip(self.rows, held, strict=True)
        ]
        page = [*table(head, lines, left=2), f"loss: {bytes_text(self.loss)}", self.advice]
        if self.compiled:
            head = ["compiled by XLA", "temporary", "arguments", "outputs", "aliased"]
            lines = [[name, *map(bytes_text, sizes)] for name, *sizes in self.compiled]
            page += ["", *table(head, lines)]
        return "\n".join(page)


def _held(row: MemoryRow) -> str:
    """The largest fields of a cache."""
    fields = sorted(row.fields, key=lambda field: -field[1])
    said = [f"{name} {bytes_text(size)}" for name, size in fields[:_HELD]]
    return ", ".join([*said, f"{len(fields) - _HELD} more"] if len(fields) > _HELD else said)


def within(path: str, outer: str) -> bool:
    """Whether the layer at `path` is the one at `outer`, or lies in it."""
    return not outer or path == outer or path.startswith(f"{outer}/")


def _nested(path: str, other: str) -> bool:
    return within(path, other) or within(other, path)
