"""How much memory a population takes, known from shapes alone, before anything is made or compiled."""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from fnn.batch import steps_per_epoch
from fnn.layer import Array, Layer, PyTree
from fnn.losses import Loss
from fnn.train.examples import example_count
from fnn.train.options import Batch
from fnn.train.precision import AnyOptimizer
from fnn.train.state import TrainState

_UNITS = ("B", "kB", "MB", "GB", "TB", "PB")


class MemoryEstimate(NamedTuple):
    """Bytes on one device."""

    state: int  # the train states of its members, in all the copies that are held at once
    examples: int  # the training set, and with `own_examples` its members'
    working: int  # what the members that run at once compute with: batches, caches, gradients
    members: int  # on this device

    @property
    def total(self) -> int:
        """All of it."""
        return self.state + self.examples + self.working

    def __str__(self) -> str:
        parts = (("states", self.state), ("examples", self.examples), ("working", self.working))
        listed = ", ".join(f"{name} {_readable(value)}" for name, value in parts)
        return f"{_readable(self.total)} for {self.members} members ({listed})"


def memory_estimate(
    net: Layer,
    loss: Loss,
    optimizer: AnyOptimizer,
    count: int,
    examples: Batch,
    *,
    batch_size: int,
    chunk: int | None = None,
    own_examples: bool = False,
    donate: bool = True,
    devices: int = 1,
) -> MemoryEstimate:
    """What `population.epoch` takes for `count` members, on each of the devices, in bytes.

        print(population.memory_estimate(net, loss, adam(), 64, (x, labels), batch_size=32))

    It adds up the train states (twice unless they are donated, and where they go through in chunks),
    the examples, and for every member that runs at once its batch, what forward saves for backward, and
    the gradients. Nothing is compiled, and XLA may fuse some of this away or add work space of its own:
    for MLPs, convnets and small transformers the total is within a third of `memory_analysis` of the
    compiled epoch. A minimizer's searches and the passes of `gradient="both"` are not in it.

    Args:
      net: the network.
      loss: the loss of an example.
      optimizer: an optimizer or a minimizer.
      count: members.
      examples: (x, target): arrays or `jax.ShapeDtypeStruct`s; with `own_examples`, of every member.
      batch_size: examples a step.
      chunk: as for `epoch`.
      own_examples: as for `epoch`.
      donate: as for `epoch`; `fit` does not donate.
      devices: over how many `spread` lays the members.

    Raises:
      ValueError: not at least one member, a number of them that the devices do not divide, or fewer
        examples than a batch.
    """
    if count < 1 or devices < 1 or count % devices:
        raise ValueError(f"expected a number of members that {devices} devices divide, got {count}")
    here = count // devices
    first = int(own_examples)
    shapes = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(jnp.shape(leaf)[first:], jnp.result_type(leaf)), examples
    )
    steps_per_epoch(example_count(shapes), batch_size)
    batch = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct((batch_size, *leaf.shape[1:]), leaf.dtype), shapes
    )
    key = jax.eval_shape(lambda: jax.random.key(0))

    def start(key: Array, x: PyTree) -> TrainState:
        params, state = net.init(key, x)
        return TrainState(params, state, optimizer.init(params), key, jnp.zeros((), jnp.int32))

    one = jax.eval_shape(start, key, batch[0])
    at_once = here if chunk is None else min(chunk, here)
    # In chunks, the loop collects the states that come out beside those that go in.
    copies = 2 * here if not donate else here if chunk is None else 2 * here + at_once
    return MemoryEstimate(
        state=copies * _bytes(one),
        examples=_bytes(shapes) * (here if own_examples else 1),
        working=at_once * _working(net, loss, one, batch),
        members=here,
    )


def check_memory(estimate: MemoryEstimate, limit: int) -> None:
    """Refuse what is estimated to take more than `limit` bytes a device.

    Raises:
      MemoryError: saying what takes how much, and what takes less.
    """
    if estimate.total > limit:
        raise MemoryError(
            f"expected a population within {_readable(limit)} a device, got an estimate of {estimate}; "
            "train fewer members, give `chunk`, `spread` them over more devices, or take a smaller batch"
        )


def _working(net: Layer, loss: Loss, one: TrainState, batch: Batch) -> int:
    """Bytes that a step of one member computes with: its batch, what forward saves, the gradient of the
    parameters, and the gradients of the largest thing saved, that which comes in and that which leaves.
    """

    def saved(params: PyTree, state: PyTree, batch: Batch, key: PyTree) -> PyTree:
        prediction, after, cache = net.forward(params, state, batch[0], key)
        return prediction, after, cache, loss.forward(prediction, batch[1])

    program = jax.make_jaxpr(saved)(one.params, one.state, batch, one.key).jaxpr
    given = set(map(id, program.invars))  # a cache that holds x or a parameter holds no copy
    kept = {id(v): _size(v.aval) for v in program.outvars if id(v) not in given}
    return (
        _bytes(batch) + _bytes(one.params) + sum(kept.values()) + 2 * max(kept.values(), default=0)
    )


def _bytes(tree: PyTree) -> int:
    return sum(map(_size, jax.tree.leaves(tree)))


def _size(leaf: Any) -> int:
    """Bytes of an array or of its shape; a typed key counts as its two words."""
    shape, dtype = jnp.shape(leaf), leaf.dtype
    if jnp.issubdtype(dtype, jax.dtypes.prng_key):
        return math.prod(shape) * 8
    return math.prod(shape) * dtype.itemsize


def _readable(count: int) -> str:
    """Three digits and a unit, such as ``1.85 MB``."""
    power = 0
    while count / 1000**power >= 999.5 and power < len(_UNITS) - 1:
        power += 1
    digits = f"{count / 1000**power:#.3g}".rstrip(".")
    return f"{digits} {_UNITS[power]}" if power else f"{count} B"
