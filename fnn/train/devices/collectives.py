"""What devices say to each other in a compiled program, read from its text.

Such as ``print(collectives_table(collectives(step.lower(train_state, batch).compile().as_text())))``.
"""

import math
import re
from collections.abc import Iterable
from typing import NamedTuple

KINDS = (
    "all-gather",
    "all-reduce",
    "reduce-scatter",
    "all-to-all",
    "collective-permute",
    "collective-broadcast",
)
_BITS = re.compile(r"(\d+)")
_ARRAY = re.compile(r"(pred|[a-z]+\d+[a-z0-9]*)\[([\d,]*)\]")
# Asynchronous ones are a pair, -start and -done, of which the first is counted.
_INSTRUCTION = re.compile(rf"= (\(?.*?\)?) ({'|'.join(KINDS)})(-start)?\(")
_OP_NAME = re.compile(r'op_name="([^"]*)"')


class Collective(NamedTuple):
    """One instruction. Several arrays that go together in one message are one instruction."""

    kind: str  # of KINDS
    arrays: tuple[tuple[str, tuple[int, ...]], ...]  # dtype and shape of each result, on one device
    name: str  # of the operation that it is for, by layer

    @property
    def bytes(self) -> int:
        """Of the results on one device."""
        return sum(-(-math.prod(shape) * _bits(dtype) // 8) for dtype, shape in self.arrays)


def collectives(text: str) -> list[Collective]:
    """Those of a compiled program's text (`as_text()`); one in a loop is one, however often it runs."""
    found = []
    for line in text.splitlines():
        if match := _INSTRUCTION.search(line):
            arrays = [
                (dtype, tuple(int(size) for size in sizes.split(",") if size))
                for dtype, sizes in _ARRAY.findall(match[1])
            ]
            if match[3] and match[2] == "all-gather":
                arrays = arrays[len(arrays) // 2 :]  # its operands come before its results
            name = _OP_NAME.search(line)
            found.append(Collective(match[2], tuple(arrays), name[1] if name else ""))
    return found


def collectives_table(found: Iterable[Collective]) -> str:
    """A line for each kind: how many instructions, arrays, and bytes of results on one device."""
    found = list(found)
    lines = []
    for kind in KINDS:
        own = [collective for collective in found if collective.kind == kind]
        if own:
            arrays = sum(len(collective.arrays) for collective in own)
            total = sum(collective.bytes for collective in own)
            lines.append(f"  {kind:20} {len(own):4} of {arrays:4} arrays {total:>14,} bytes")
    return "\n".join(lines) or "  none"


def _bits(dtype: str) -> int:
    bits = _BITS.search(dtype)
    return int(bits[1]) if bits else 8  # pred
