"""How many first steps of each sequence count: what the layers that take lengths have in common."""

from typing import NamedTuple

import jax
import numpy as np

from fnn.dtypes import label_dtype
from fnn.layer import Array


class Counted(NamedTuple):
    """Lengths as integers in which every time fits, and which of them mean something."""

    lengths: Array  # (N,), int32 at least
    valid: Array  # (N,) of bool


def counted(lengths: Array, time: int) -> Counted:
    """Lengths of sequences of `time` steps; one that is out of range is marked as not valid.

    Nothing is refused here: `backward` needs it as well, after a `forward` inside of `jit` that could not
    look. Who takes lengths calls `check_lengths`, once, in `forward`.
    """
    lengths = lengths.astype(label_dtype(lengths.dtype))  # the time has to fit in
    return Counted(lengths, (lengths >= 0) & (lengths <= time))


def check_lengths(name: str, lengths: Array, time: int) -> None:
    """Refuse lengths out of range where values can be looked at: outside of `jit` and the like.

    Raises:
      ValueError: naming the layer, the range, the first length outside of it and where it is.
    """
    if isinstance(lengths, jax.core.Tracer):
        return
    with jax.ensure_compile_time_eval():  # they may be a constant of a traced function
        values = np.asarray(lengths)
    bad = np.argwhere((values < 0) | (values > time))
    if bad.size:
        n = int(bad[0, 0])
        raise ValueError(f"{name}: expected lengths in [0, {time}], got {values[n]} at {n}")
