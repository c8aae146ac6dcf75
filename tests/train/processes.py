"""One of several processes that train as one: what `test_distributed.py` starts.

Its arguments: the coordinator, the number of processes, this one's, the mesh, and a folder. It writes the
losses of `fit` from examples that every process has, and of steps whose batches each read in part.
"""

import json
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import sharded

from fnn import train


def main(coordinator, processes, process, mesh, folder):
    jax.config.update("jax_platforms", "cpu")
    found = train.distributed.start(coordinator, int(processes), int(process), timeout=60)
    assert train.distributed.start() == found
    assert (found.processes, found.process) == (int(processes), int(process))
    assert train.distributed.first_process() == (process == "0")
    base = sharded.tensor_parallel("dense") if "model" in mesh else None
    rules = train.fully_sharded(min_size=64, base=base)
    shardings = train.shardings(train.mesh(mesh), rules)
    net, optimizer = sharded.dense(), sharded.OPTIMIZERS["momentum"]()
    examples = sharded.examples("dense", jnp.dtype("float32"))
    state = shardings.place(sharded.start("dense", optimizer, jnp.dtype("float32")))

    options = {"batch_size": sharded.BATCH, "shardings": shardings}
    reports = train.fit(
        net, sharded.LOSS, optimizer, state, examples, epochs=2, validation=examples, **options
    )
    fitted, judged = [], []
    for report in reports:
        fitted += np.asarray(report.info.loss).tolist()
        judged.append(float(report.evaluation.loss))

    step = train.step(net, sharded.LOSS, optimizer, shardings=shardings)
    rows = train.distributed.own_rows(shardings, sharded.BATCH)
    x, target = map(np.asarray, examples)
    key, stepped = jax.random.key(1), []
    for i in range(6):
        indices = train.batches.batch_indices(key, jnp.int32(i), len(x), sharded.BATCH)
        own = np.asarray(indices)[rows]
        batch = train.distributed.whole_batch(shardings, (x[own], target[own]))
        state, info = step(state, batch)
        stepped.append(float(info.loss))
    result = {"fit": fitted, "evaluate": judged, "step": stepped, "rows": rows.tolist()}
    Path(folder, f"{process}.json").write_text(json.dumps(result))


if __name__ == "__main__":
    main(*sys.argv[1:])
