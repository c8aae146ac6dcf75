"""The host pipeline on worker processes: the same batches, errors that arrive, a bounded lead."""

import multiprocessing
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest

from fnn import data

pytest.importorskip("grain", reason="grain is not installed: no host pipeline")
pytestmark = pytest.mark.slow

X = np.arange(300.0).reshape(100, 3)
Y = np.arange(100)


class Noted:
    """A transform that leaves a byte in a file for every example, and fails at one."""

    def __init__(self, path, fails_at=None):
        self.path, self.fails_at = str(path), fails_at

    def __call__(self, example):
        with open(self.path, "ab", buffering=0) as file:
            file.write(b".")
        if example[1] == self.fails_at:
            raise OSError(f"image {example[1]} is damaged")
        return example[0] + 1, example[1]


def jitter(generator, example):
    return example[0] + generator.standard_normal(3), example[1]


def test_processes_make_the_batches_that_threads_make(key, tmp_path):
    np.save(tmp_path / "x.npy", X)
    mapped = (np.load(tmp_path / "x.npy", mmap_mode="r"), Y)
    options = {"transform": Noted(tmp_path / "read"), "augment": jitter}
    by_threads = data.pipeline(mapped, workers=0, **options).batches(key, 6, 10)
    by_processes = data.pipeline(mapped, processes=2, **options).batches(key, 6, 10)
    kept = []
    for _ in range(15):
        batch = next(by_processes)
        kept.append((batch, jax.tree.map(np.array, batch)))
        jax.tree.map(np.testing.assert_array_equal, batch, next(by_threads))
    time.sleep(1)
    # 15 of ours and 15 of theirs; those made ahead: six a process at most, and one on the device.
    assert (tmp_path / "read").stat().st_size / 10 <= 15 + 15 + 2 * 6 + 1
    by_processes.close()
    for batch, copy in kept:  # a worker's memory, which is gone by now, was not lent to the device
        jax.tree.map(np.testing.assert_array_equal, batch, copy)
    stop = time.monotonic() + 20
    while multiprocessing.active_children() and time.monotonic() < stop:
        time.sleep(0.05)
    assert not multiprocessing.active_children()


def test_a_failure_arrives_after_the_batches_before_it(key, tmp_path):
    words = np.asarray(jax.random.key_data(key))
    bad = int(data.order.batch_indices(words, 3, 100, 10)[4])
    transform = Noted(tmp_path / "read", fails_at=bad)
    batches = data.pipeline((X, Y), transform=transform, processes=2).batches(key, 0, 10)
    for _ in range(3):
        next(batches)
    with pytest.raises(OSError, match=f"image {bad} is damaged") as caught:
        next(batches)
    assert f"in example {bad}" in caught.value.__notes__
    assert list(batches) == []


def test_a_program_may_leave_its_processes_open(tmp_path):
    program = tmp_path / "program.py"
    program.write_text(
        "import jax, numpy as np; from fnn import data\n"
        "if __name__ == '__main__':\n"
        "    pipeline = data.pipeline(np.arange(100.0), processes=2)\n"
        "    batches = pipeline.batches(jax.random.key(0), 0, 10)\n"
        "    next(batches)\n"
    )
    root = str(Path(data.__file__).parents[2])
    run = subprocess.run(
        [sys.executable, "-W", "error", program],
        capture_output=True,
        timeout=120,
        check=False,
        env={"PYTHONPATH": root, "PATH": "/usr/bin:/bin"},
    )
    assert (run.returncode, run.stdout, run.stderr) == (0, b"", b"")
