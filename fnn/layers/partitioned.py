"""Whether a program is cut up for several devices, which some forms do not bear."""

import jax


def devices() -> int:
    """The devices of the mesh on which what is traced now will run, each with a part of the arrays.

    It is that of `jax.set_mesh`, or of `train.shardings` in the steps that these go to; 1 without.
    """
    return max(jax.sharding.get_abstract_mesh().size, 1)


def partitioned() -> bool:
    """Whether there are several of them.

    Loops over examples, and arrays that are joined along an axis which may be split, are for one device:
    of several, each would have to gather the whole batch, or exchange its parts.
    """
    return devices() > 1
