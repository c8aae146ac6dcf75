"""What is found of one layer."""

from typing import NamedTuple

from fnn.diagnostics.spectrum import Rank
from fnn.diagnostics.statistics import Statistics
from fnn.layer import Array, Static


class LayerHealth(NamedTuple):
    """One leaf layer in a training pass. C is the width of the last axis of its output, its units.

    In `Health.layers`, a layer within `repeat` has an axis for the blocks in front of every array, and
    ``[*]`` in its path; in `Health.rows` there is one entry for each block, with its number. Tuples of
    arrays count together; integers not at all. What there is nothing to find of is None.
    """

    path: Static[str]  # blocks/block[*]/mlp/expand
    name: Static[str]  # linear(512)
    blocks: Static[tuple[int, ...]]  # how many, of each `repeat` around it; () in a row
    y: Statistics | None  # of its output
    dy: Statistics | None  # of dL/dy
    forward_gain: Array  # std(y) / std(x); NaN without floats in x or y, or where x is constant
    backward_gain: Array  # rms(dx) / rms(dy); NaN likewise, and where dy is 0
    active: Array | None  # (C,), of each unit, the share of elements that are not 0
    dead: Array | None  # (C,), bool: always 0 where the same unit of x is not; of activations alone
    saturated: Array | None  # the share on the flat ends, of bounded activations; see `saturation`
    rank: Rank | None  # of its outputs, centred; see `spectrum`
    gradients: dict[str, Statistics]  # dL/dθ by the name of the parameter, such as "w"

    @property
    def width(self) -> int:
        """C, or 0 where the output has no units."""
        return 0 if self.active is None else int(self.active.shape[-1])
