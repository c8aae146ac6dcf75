"""Several processes, on one machine or many, that train as one.

    train.distributed.start()                      # before anything else of jax; see there
    shardings = train.shardings(train.mesh("data=-1"), ...)
    train_state = shardings.place(train.init(net, optimizer, key, x))

Every process runs the same program, and `jax.devices()` are those of all. Data that each host has
whole goes to `train.epoch` and `train.fit` as on one machine (`shardings.replicate`). Data that is read
batch by batch need not be read by all: each process reads its rows of the batch,

    rows = train.distributed.own_rows(shardings, batch_size)
    indices = np.asarray(train.batches.batch_indices(key, step, count, batch_size))[rows]
    batch = train.distributed.whole_batch(shardings, (x[indices], target[indices]))

which are the examples that one process alone would have seen. Logs are for `first_process` to write;
checkpoints are saved by all (`train.checkpoints`).
"""

from typing import NamedTuple

import jax
import numpy as np

from fnn.layer import PyTree
from fnn.train.devices.shardings import MeshShardings
from fnn.train.options import Batch
from fnn.tree import paths


class Processes(NamedTuple):
    """Who trains together."""

    process: int  # this one, from 0
    processes: int
    devices: int  # of all
    own_devices: int


def start(
    coordinator: str | None = None,
    processes: int | None = None,
    process: int | None = None,
    *,
    timeout: int = 300,
) -> Processes:
    """Join the other processes; it waits until all are there. Once it is done, it may be called again.

    Without arguments, jax looks for a cluster that it knows: a TPU pod, Slurm, Open MPI, Kubernetes.
    With them, all three: `start("10.0.0.1:1234", 2, 0)` on that machine, and on the other
    `start("10.0.0.1:1234", 2, 1)`.

    Args:
      coordinator: host and port of process 0, which listens there.
      processes: how many there are.
      process: which one this is, from 0.
      timeout: seconds to wait for the others.

    Raises:
      ValueError: one or two of the three, or such as make no sense; no cluster was found; or it was done
        already, with other counts.
      RuntimeError: something has used jax's devices before, so that it is too late; or the others did
        not come in time.
    """
    given = (coordinator, processes, process)
    if any(value is None for value in given) and given != (None, None, None):
        raise ValueError(
            "distributed.start: expected coordinator, processes and process, or none of them, got "
            f"{coordinator=}, {processes=}, {process=}"
        )
    if coordinator is not None and processes is not None and process is not None:
        host, colon, port = coordinator.rpartition(":")
        if not (host and colon and port.isascii() and port.isdigit() and 0 < int(port) < 65536):
            raise ValueError(
                f"distributed.start: expected a coordinator HOST:PORT, got {coordinator!r}"
            )
        if not 0 <= process < processes:
            raise ValueError(
                f"distributed.start: expected a process from 0 to below the {processes} processes, got "
                f"{process}"
            )
    if timeout < 1:
        raise ValueError(
            f"distributed.start: expected a timeout of a second or more, got {timeout}"
        )
    if not jax.distributed.is_initialized():
        _join(coordinator, processes, process, timeout)
    now = Processes(
        jax.process_index(), jax.process_count(), jax.device_count(), jax.local_device_count()
    )
    if processes is not None and (now.processes, now.process) != (processes, process):
        raise ValueError(
            f"distributed.start: expected the counts of the first call, process {now.process} of "
            f"{now.processes}, got {process} of {processes}"
        )
    return now


def _join(
    coordinator: str | None, processes: int | None, process: int | None, timeout: int
) -> None:
    try:
        jax.distributed.initialize(coordinator, processes, process, initialization_timeout=timeout)
    except ValueError as error:
        raise ValueError(
            f"distributed.start: jax found no cluster that it knows ({error}); give coordinator, "
            "processes and process, or on one process do not call this"
        ) from error
    except RuntimeError as error:
        raise RuntimeError(
            f"distributed.start: process {process} of {processes} could not join {coordinator}: {error}"
        ) from error


def first_process() -> bool:
    """Whether this is process 0, who writes logs and prints; of one process it is."""
    return jax.process_index() == 0


def own_rows(shardings: MeshShardings, batch_size: int) -> np.ndarray:
    """Which rows of a batch the devices of this process hold, in order: int64, unique.

    Raises:
      ValueError: a batch of this size does not fall into the mesh's parts.
    """
    if batch_size < 1 or batch_size % shardings.batch_parts:
        raise ValueError(
            f"expected a batch size that {shardings.batch_parts} devices divide, got {batch_size}"
        )
    places = shardings.batch_sharding.addressable_devices_indices_map((batch_size,))
    everything = np.arange(batch_size)
    return np.unique(np.concatenate([everything[index] for index in places.values()]))


def whole_batch(shardings: MeshShardings, own: Batch) -> Batch:
    """The batch of all processes, of which each gives its `own_rows`; for `train.step`.

    Nothing is sent: each device holds its rows.

    Raises:
      ValueError: the leaves have no equal number of rows.
    """
    counts = {leaf.shape[0] if np.ndim(leaf) else -1 for _, leaf in paths(own)}
    if len(counts) != 1 or -1 in counts:
        raise ValueError(
            "expected x and target with one entry an example of this process, got shapes "
            f"{[np.shape(leaf) for _, leaf in paths(own)]}"
        )
    sharding = shardings.batch_sharding
    rows = counts.pop()
    whole = _batch_size(shardings, rows)

    def put(leaf: PyTree) -> jax.Array:
        leaf = np.asarray(leaf)
        return jax.make_array_from_process_local_data(sharding, leaf, (whole, *leaf.shape[1:]))

    return jax.tree.map(put, own)


def _batch_size(shardings: MeshShardings, rows: int) -> int:
    """Of the whole batch, if this process has so many rows of it."""
    own_parts = own_rows(shardings, shardings.batch_parts).size
    if rows % own_parts:
        raise ValueError(
            f"expected rows for the {own_parts} parts of a batch that this process has, got {rows}"
        )
    return rows // own_parts * shardings.batch_parts
