"""Schedules: pure functions of the number of steps already made.

One convention holds for all of them. `count` is the number of steps that have been made: 0 at the first
update, T - 1 at the last of T. What is said to be reached "at count T" is therefore what a further step
would get, and the last of T steps still moves with a little more than the final value. A warmup of W
steps begins above 0, so that the first update is not lost, and the peak is there at count W, after W
steps below it.

Every schedule is built from numbers that are checked then, works on counts of any shape under `jit` and
`vmap`, and goes on beyond its end with a finite value. An integer count is compared, subtracted and
divided into periods as an integer, up to the 2³¹ - 1 of an int32, because float32 leaves out integers
from 2²⁴ on; only what is left is made a float. A float count (a fraction of an epoch) has the digits of
its dtype. Values are at least 0 and may be traced, so that a sweep over peaks is one compilation;
lengths, which are integers, and factors are part of the program.
"""

from fnn.optimizers.schedules.cycles import cosine_with_restarts, cyclical, one_cycle
from fnn.optimizers.schedules.decays import (
    constant,
    cosine,
    exponential,
    inverse_square_root,
    inverse_time,
    linear,
    polynomial,
    step_decay,
)
from fnn.optimizers.schedules.pieces import (
    cosine_with_warmup,
    join,
    piecewise_constant,
    piecewise_interpolated,
    warmup,
    warmup_stable_decay,
)
from fnn.optimizers.schedules.plateau import reduce_on_plateau
from fnn.optimizers.schedules.table import schedule_table

__all__ = [
    "constant",
    "cosine",
    "cosine_with_restarts",
    "cosine_with_warmup",
    "cyclical",
    "exponential",
    "inverse_square_root",
    "inverse_time",
    "join",
    "linear",
    "one_cycle",
    "piecewise_constant",
    "piecewise_interpolated",
    "polynomial",
    "reduce_on_plateau",
    "schedule_table",
    "step_decay",
    "warmup",
    "warmup_stable_decay",
]
