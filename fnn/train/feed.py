"""Where a run's batches come from: from arrays on the device, or from a pipeline on the host.

Either way the batch of a step is a function of (key, step), so that a run may change between the two.
"""

from collections import deque
from collections.abc import Callable, Generator, Iterator
from itertools import count as count_from
from itertools import islice, repeat
from typing import Any, NamedTuple, Protocol, TypeGuard, cast

import jax
import jax.numpy as jnp
import numpy as np

from fnn.batch import steps_per_epoch
from fnn.layer import Array
from fnn.train.batches import batch_indices
from fnn.train.examples import example_count, take
from fnn.train.once import jit_once
from fnn.train.options import Batch
from fnn.train.state import TrainState
from fnn.train.step import Info

Advance = Callable[[TrainState, Batch], tuple[TrainState, Info]]
# How many batches are moved to the device while others are at work.
AHEAD = 2


class Source(Protocol):
    """Examples that do not lie on the device, such as `fnn.data.pipeline`'s."""

    @property
    def count(self) -> int:
        """How many examples there are."""

    @property
    def batches(self) -> Callable[[Array, int, int], Iterator[Any]]:
        """``batches(key, step, batch_size)``: the batches of that step and all after it.

        Of the examples that `batch_indices` names, on the host or on a device.
        """


class Feed(NamedTuple):
    """The training examples, as a run needs them."""

    # So many steps, as one compiled call or several; the state is donated.
    advance: Callable[[TrainState, int], tuple[TrainState, Info]]
    # What the next step is given, and those after it, once more.
    batches: Callable[[TrainState], Generator[Batch, None, None]]
    close: Callable[[], None]
    repeats: bool  # whether, after a step that is not made, the next one is given the same batch


def is_source(examples: Any) -> TypeGuard[Source]:
    """Whether these are examples of a pipeline."""
    return callable(getattr(examples, "batches", None))


def counted(examples: Batch | Source, batch_size: int | None) -> tuple[int, int]:
    """(examples a step, steps an epoch), where no batch size means all examples.

    Raises:
      TypeError: they are neither a batch nor a source.
      ValueError: no examples, or fewer than a batch.
    """
    count = examples.count if is_source(examples) else example_count(checked(examples, "examples"))
    size = count if batch_size is None else batch_size
    return size, steps_per_epoch(count, size)


def checked(given: Any, name: str) -> Batch:
    """What is given, if it is a batch.

    Raises:
      TypeError: it is a source, an iterator, or whatever else.
    """
    if not isinstance(given, tuple | list):
        source = ", or a source of batches such as fnn.data.pipeline" if name == "examples" else ""
        other = (
            ", whose whole batches leave examples out; give the arrays, or evaluate in the loop"
            if is_source(given) and not source
            else ""
        )
        raise TypeError(
            f"{name}: expected arrays (x, target) or (x, target, weights){source}, got "
            f"{type(given).__name__}{other}"
        )
    return cast(Batch, given)


def from_arrays(epoch: Callable[[int], Advance], examples: Batch, batch_size: int | None) -> Feed:
    """Of examples on the device: `epoch` gives so many steps in one compiled call."""
    calls: dict[int, Advance] = {}

    def advance(train_state: TrainState, length: int) -> tuple[TrainState, Info]:
        if length not in calls:
            calls[length] = epoch(length)
        return jax.block_until_ready(calls[length](train_state, examples))

    def batches(train_state: TrainState) -> Generator[Batch, None, None]:
        if batch_size is None:
            yield from repeat(examples)
            return
        for step in count_from(int(train_state.step)):
            indices = batch_indices(
                train_state.key, jnp.int32(step), example_count(examples), batch_size
            )
            yield take(examples, indices)

    return Feed(advance, batches, lambda: None, repeats=True)


def from_source(
    step: Advance, source: Source, batch_size: int, start: TrainState, total: int, stacked: bool
) -> Feed:
    """Of a pipeline: `step` is called once a batch, or in one scan over a call's batches if `stacked`.

    The batches of the steps from `start` to `total` are asked for once, in their order, and moved to the
    device `AHEAD` of their turn, while it computes.
    """
    one = jit_once("train.fit", step, donate_argnums=0)
    several: dict[int, Callable[..., tuple[TrainState, Info]]] = {}

    def opened(train_state: TrainState) -> Iterator[Batch]:
        return iter(source.batches(train_state.key, int(train_state.step), batch_size))

    own = opened(start)
    coming = _ahead(islice(own, total - int(start.step)))

    def next_batch() -> Batch:
        for batch in coming:
            return batch
        raise ValueError("expected a batch for every step to come, but the pipeline ended")

    def together(train_state: TrainState, length: int) -> tuple[TrainState, Info]:
        if length not in several:
            several[length] = jit_once("train.fit", _scanned(step), donate_argnums=0)
        batches = [next_batch() for _ in range(length)]
        return jax.block_until_ready(several[length](train_state, *batches))

    def one_by_one(train_state: TrainState, length: int) -> tuple[TrainState, Info]:
        infos: list[Info] = []
        for _ in range(length):
            train_state, info = one(train_state, next_batch())
            infos.append(info)
            # A queue of steps that grows would hold all their batches.
            jax.block_until_ready(infos[-AHEAD:][0])
        return jax.block_until_ready(train_state), jax.tree.map(_column, *infos)

    def advance(train_state: TrainState, length: int) -> tuple[TrainState, Info]:
        return (together if stacked and length > 1 else one_by_one)(train_state, length)

    def batches(train_state: TrainState) -> Generator[Batch, None, None]:
        again = opened(train_state)
        try:
            for batch in again:
                yield jax.tree.map(_placed, batch)
        finally:
            _close(again)

    return Feed(advance, batches, lambda: _close(own), repeats=False)


def _scanned(step: Advance) -> Callable[..., tuple[TrainState, Info]]:
    """``several(train_state, *batches)``: one scan."""

    def several(train_state: TrainState, *batches: Batch) -> tuple[TrainState, Info]:
        return jax.lax.scan(step, train_state, jax.tree.map(lambda *a: jnp.stack(a), *batches))

    return several


def _ahead(batches: Iterator[Batch]) -> Iterator[Batch]:
    """The batches on the device; their transfers begin `AHEAD` batches before their turn."""
    waiting: deque[Batch] = deque()
    for batch in batches:
        waiting.append(jax.tree.map(_placed, batch))
        if len(waiting) > AHEAD:
            yield waiting.popleft()
    yield from waiting


def _placed(leaf: Any) -> Array:
    # A copy first: a pipeline may write its next batch to the host's array before the transfer is done.
    return leaf if isinstance(leaf, jax.Array) else jax.device_put(np.array(leaf))


def _column(*leaves: Array) -> np.ndarray:
    return np.stack([np.asarray(leaf) for leaf in leaves])


def _close(batches: Any) -> None:
    """End the workers of an iterator that has any."""
    if hasattr(batches, "close"):
        batches.close()
