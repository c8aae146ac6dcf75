"""Batches of data that do not fit on the device: read, changed and moved there ahead of the step.

    examples = np.load("x.npy", mmap_mode="r"), np.load("y.npy", mmap_mode="r")
    images = data.pipeline(examples, workers=2)
    for batch in images.batches(train_state.key, int(train_state.step), 128):
        train_state, info = step(train_state, batch)

The batch of a step is a function of (key, step), as it is for data on the device, and the same one: a run
can change between the two, and goes on after an interruption from its step number. There is no iterator
whose position must be saved.
"""

import contextlib
import weakref
from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import Any

import jax
import numpy as np

from fnn.arguments import check_takes
from fnn.data import order
from fnn.data.host_batches import HostAugment, HostBatches, RandomAccess, Transform, opened
from fnn.extras import require

_LAST_STEP = 0x7FFFFFFF


@dataclass(frozen=True)
class Pipeline:
    """What a training loop needs to know of data that it cannot hold.

    ``batches(key, step, batch_size)`` gives the batches of the steps `step`, `step` + 1, … without an
    end: trees of device arrays whose rows are the examples that `fnn.train.batches.batch_indices` names
    for the step. The key is the run's, `TrainState.key`. It raises a ValueError at the call if
    `batch_size` is not from 1 to `count` or `step` is below 0. What a worker raises comes out of `next`
    and ends the iterator. Close it (its method `close`) or let go of it, and its workers end.
    """

    count: int  # examples
    batches: Callable[[jax.Array, int, int], Iterator[Any]]


def pipeline(
    source: RandomAccess | Any,
    *,
    transform: Transform | None = None,
    augment: HostAugment | None = None,
    workers: int = 2,
    prefetch: int = 4,
    processes: int = 0,
    device: Any = None,
) -> Pipeline:
    """A `Pipeline` over `source`, by threads, or by the worker processes of `grain`.

    Threads make at most `prefetch` batches ahead, and put them on the device. A process makes at most six
    ahead, which wait on the host, but for one. What is given here is called from several threads at once.

    Args:
        source: arrays with one row an example, in a tuple or mapping such as (x, labels), which may be
            mapped from files; or anything with ``__len__`` and ``__getitem__``, such as a data source or
            `MapDataset` of grain's, whose item at a Python int is an example, a tree of arrays and
            numbers such as (image, label).
        transform: ``transform(example) -> example``, the same in every epoch (decode, centre).
        augment: ``augment(generator, example) -> example`` after it, random: the NumPy generator depends
            on the run's key, the epoch and the example's index, and on nothing else.
        workers: threads that make batches; 0 to make each when it is asked for.
        prefetch: how many batches the threads make ahead, at least one and at least `workers`.
        processes: instead of threads, for transforms in Python code, of which threads run one at a time.
            Source and functions must be picklable, arrays in memory are copied to each process, and the
            script needs ``if __name__ == "__main__":``. 0 for threads.
        device: where batches are put: a device or sharding, or None for the default device.

    Raises:
        ImportError: `grain`, which the processes need, is not installed.
        TypeError: the source is none, or holds arrays of no numbers; what changes its examples is no such
            function, as those of `fnn.augment` are not, which work on batches on the device.
        ValueError: no example, arrays of different lengths, or counts that make no sense.
    """
    if processes:
        require("grain", "data")
    if transform is not None:
        check_takes(transform, ("example",), "transform")
    if augment is not None:
        _check_augment(augment)
    examples = opened(source)
    count = len(examples)
    order.steps_per_epoch(count, 1)
    if workers < 0 or processes < 0:
        raise ValueError(f"expected workers and processes ≥ 0, got {workers} and {processes}")
    if prefetch < max(workers, 1):
        raise ValueError(
            f"expected a prefetch of at least {max(workers, 1)} batches for {workers} workers, "
            f"got {prefetch}"
        )

    def batches(key: jax.Array, step: int, batch_size: int) -> Iterator[Any]:
        order.steps_per_epoch(count, batch_size)
        if not 0 <= step < _LAST_STEP:
            raise ValueError(f"expected a step from 0 to 2³¹ - 2, got {step}")
        words = np.asarray(jax.random.key_data(key)).reshape(-1)
        make = HostBatches(examples, count, transform, augment, words, batch_size)
        if processes:
            return _Closing(_by_processes(make, step, processes, device))

        def place(step: int) -> Any:
            return jax.device_put(make(step), device)

        if not workers:
            return _Closing(place(step) for step in range(step, _LAST_STEP))
        return _Closing(_by_threads(place, step, workers, prefetch))

    return Pipeline(count, batches)


def _check_augment(augment: object) -> None:
    module = getattr(augment, "__module__", None) or ""
    if module.startswith("fnn.augment."):
        name = getattr(
            augment, "__name__", None
        )  # random transforms, such as `rotate(10)`, have none
        kind, mend = (
            (f"augment.{name}", f"augment.{name}(…)")
            if name
            else (type(augment).__name__, "augment.affine(…)")
        )
        raise TypeError(
            "augment: expected a function (generator, example) -> example of NumPy arrays on the host, "
            f"got {kind}, which is for batches on the device: give it to the training, as in "
            f"train.fit(…, augment={mend})"
        )
    check_takes(augment, ("generator", "example"), "augment")


def _by_threads(
    place: Callable[[int], Any], step: int, workers: int, lead: int
) -> Generator[Any, None, None]:
    """``place(step)`` for all steps from `step` on, made by threads, `lead` of them ahead."""
    threads = ThreadPoolExecutor(workers, "fnn-pipeline")
    steps = iter(range(step, _LAST_STEP))
    try:
        coming = deque(threads.submit(place, step) for step in islice(steps, lead))
        while coming:
            batch = coming.popleft()
            coming.extend(threads.submit(place, step) for step in islice(steps, 1))
            yield batch.result()
    finally:
        # What runs is waited for: it may use what is closed next.
        threads.shutdown(cancel_futures=True)


def _by_processes(
    make: HostBatches, step: int, processes: int, device: Any
) -> Generator[Any, None, None]:
    """The same from worker processes; a thread puts each on the device while the one before is used."""
    grain = require("grain", "data")
    # The workers read command-line flags of grain's; a program that parses none has their defaults.
    flags = require("absl.flags", "data").FLAGS
    if not flags.is_parsed():
        flags.mark_as_parsed()
    one = grain.ReadOptions(num_threads=1, prefetch_buffer_size=1)
    options = grain.MultiprocessingOptions(num_workers=processes, per_worker_buffer_size=1)
    made = grain.MapDataset.range(step, _LAST_STEP).map(make).to_iter_dataset(one)
    iterator = iter(made.mp_prefetch(options))

    def place(_: int) -> Any:
        # A worker's arrays lie in memory that it takes back: a device is given a copy to keep.
        return jax.device_put(jax.tree.map(np.array, next(iterator)), device)

    with contextlib.closing(iterator):
        yield from _by_threads(place, step, 1, 1)


class _Closing(Iterator[Any]):
    """A generator whose workers end with it: closed, failed, forgotten, or left at the program's exit."""

    def __init__(self, generator: Generator[Any, None, None]) -> None:
        self._generator = generator
        # At exit, too, while what closing needs is still there.
        self.close = weakref.finalize(self, generator.close)

    def __next__(self) -> Any:
        return next(self._generator)
