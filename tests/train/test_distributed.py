"""Several processes on one machine train as one process does; and what `start` refuses."""

import contextlib
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import sharded

from fnn import train

HERE = Path(__file__).parent
PATIENCE = 480  # seconds for all processes together


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("host:1", 2, None), "or none of them"),
        ((None, 2, 0), "or none of them"),
        (("host", 2, 0), "HOST:PORT, got 'host'"),
        (("host:", 2, 0), "HOST:PORT"),
        (("host:99999", 2, 0), "HOST:PORT"),
        (("host:1", 2, 2), "from 0 to below the 2 processes, got 2"),
        (("host:1", 0, 0), "from 0 to below the 0"),
    ],
)
def test_arguments_that_make_no_sense_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        train.distributed.start(*arguments)


def test_a_start_after_the_first_use_of_a_device_is_refused():
    jnp.zeros(1).block_until_ready()
    with pytest.raises(RuntimeError, match="process 0 of 1 could not join"):
        train.distributed.start("localhost:1", 1, 0)


def test_a_timeout_below_a_second_is_refused():
    with pytest.raises(ValueError, match="a second or more, got 0"):
        train.distributed.start("localhost:1", 1, 0, timeout=0)


def test_one_process_has_all_rows():
    shardings = train.shardings(train.mesh("data=1"))
    np.testing.assert_array_equal(train.distributed.own_rows(shardings, 6), np.arange(6))
    x = np.arange(12.0, dtype=np.float32).reshape(6, 2)
    batch = train.distributed.whole_batch(shardings, (x, np.arange(6, dtype=np.int32)))
    np.testing.assert_array_equal(batch[0], x)
    assert batch[0].sharding == shardings.batch_sharding
    assert train.distributed.first_process()


def test_rows_that_do_not_agree_are_refused():
    shardings = train.shardings(train.mesh("data=1"))
    with pytest.raises(ValueError, match=r"shapes \[\(6, 2\), \(5,\)\]"):
        train.distributed.whole_batch(shardings, (np.zeros((6, 2)), np.zeros(5)))
    with pytest.raises(ValueError, match="1 devices divide, got 0"):
        train.distributed.own_rows(shardings, 0)


def run_together(count, devices, mesh, folder):
    """So many processes with as many forced devices each; what each of them wrote."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        coordinator = f"localhost:{free.getsockname()[1]}"
    environment = {
        **os.environ,
        "PYTHONPATH": f"{HERE.parents[1]}{os.pathsep}{HERE}",
        "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}",
    }
    with contextlib.ExitStack() as stack:
        started = []
        for i in range(count):
            command = [sys.executable, HERE / "processes.py", coordinator, str(count), str(i)]
            log = stack.enter_context((folder / f"{i}.log").open("w+"))
            process = subprocess.Popen(
                [*command, mesh, folder], env=environment, stdout=log, stderr=log
            )
            stack.callback(process.wait)
            stack.callback(process.kill)  # before that, if it is still there
            started.append(process)
        for i, process in enumerate(started):
            assert process.wait(PATIENCE) == 0, (folder / f"{i}.log").read_text()[-3000:]
    return [json.loads((folder / f"{i}.json").read_text()) for i in range(count)]


@pytest.fixture(scope="module")
def alone():
    """The losses of six steps of one process with one device, and after each epoch on all examples."""
    optimizer, dtype = sharded.OPTIMIZERS["momentum"](), jnp.dtype("float32")
    examples = sharded.examples("dense", dtype)
    reports = train.fit(
        sharded.dense(),
        sharded.LOSS,
        optimizer,
        sharded.start("dense", optimizer, dtype),
        examples,
        epochs=2,
        batch_size=sharded.BATCH,
        validation=examples,
    )
    reports = list(reports)
    losses = np.concatenate([report.info.loss for report in reports])
    return losses, [float(report.evaluation.loss) for report in reports]


@pytest.mark.slow
@pytest.mark.parametrize(("devices", "mesh"), [(1, "data=2"), (4, "data=4,model=2")])
def test_two_processes_are_one(devices, mesh, alone, tmp_path):
    losses, judged = alone
    results = run_together(2, devices, mesh, tmp_path)
    for result in results:
        np.testing.assert_allclose(result["fit"], losses, rtol=1e-5)
        np.testing.assert_allclose(result["step"], losses, rtol=1e-5)
        np.testing.assert_allclose(result["evaluate"], judged, rtol=1e-5)
    rows = [result["rows"] for result in results]
    assert sorted(rows[0] + rows[1]) == list(range(sharded.BATCH))
    assert len(rows[0]) == sharded.BATCH // 2
    assert jax.process_count() == 1
