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

from fnn.optimizers.schedules.cycles import cosine_with_restarts as cosine_with_restarts
from fnn.optimizers.schedules.cycles import cyclical as cyclical
from fnn.optimizers.schedules.cycles import one_cycle as one_cycle
from fnn.optimizers.schedules.decays import constant as constant
from fnn.optimizers.schedules.decays import cosine as cosine
from fnn.optimizers.schedules.decays import exponential as exponential
from fnn.optimizers.schedules.decays import inverse_square_root as inverse_square_root
from fnn.optimizers.schedules.decays import inverse_time as inverse_time
from fnn.optimizers.schedules.decays import linear as linear
from fnn.optimizers.schedules.decays import polynomial as polynomial
from fnn.optimizers.schedules.decays import step_decay as step_decay
from fnn.optimizers.schedules.pieces import cosine_with_warmup as cosine_with_warmup
from fnn.optimizers.schedules.pieces import join as join
from fnn.optimizers.schedules.pieces import piecewise_constant as piecewise_constant
from fnn.optimizers.schedules.pieces import piecewise_interpolated as piecewise_interpolated
from fnn.optimizers.schedules.pieces import warmup as warmup
from fnn.optimizers.schedules.pieces import warmup_stable_decay as warmup_stable_decay
from fnn.optimizers.schedules.plateau import reduce_on_plateau as reduce_on_plateau
from fnn.optimizers.schedules.table import schedule_table as schedule_table
