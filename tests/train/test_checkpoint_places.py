"""Checkpoints of states that lie on several devices, or on those of several processes."""

import socket
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent


@pytest.mark.slow
def test_on_a_mesh_and_back_on_another_shape_of_it():
    """In a process of its own, which has eight devices."""
    program = HERE / "checkpoint_on_eight_devices.py"
    done = subprocess.run([sys.executable, program], capture_output=True, text=True, timeout=300)
    assert (done.returncode, done.stdout) == (0, "same\n"), done.stderr


@pytest.mark.slow
def test_two_processes_save_and_restore_together(tmp_path):
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{found.getsockname()[1]}"
    program = HERE / "checkpoint_on_two_processes.py"
    both = [
        subprocess.Popen(
            [sys.executable, program, address, str(number), tmp_path / "run"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for number in (0, 1)
    ]
    try:
        said = [process.communicate(timeout=300) for process in both]
    finally:
        for process in both:
            process.kill()
    for process, (out, errors) in zip(both, said, strict=True):
        assert (process.returncode, out.splitlines()[-1]) == (0, "same"), errors
