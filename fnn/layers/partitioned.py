"""Whether a program is cut up for several devices, which some forms do not bear."""

import jax


def partitioned() -> bool:
    """Whether what is traced now will run on a mesh of several devices, each with a part of the arrays.

    It is so within `jax.set_mesh`, and in the steps that `train.shardings` goes to. Loops over examples,
    and arrays that are joined along an axis which may be split, are for one device: on several, each
    would have to gather the whole batch, or exchange its parts.
    """
    return jax.sharding.get_abstract_mesh().size > 1
