"""An evaluation that eight devices share says what one device says, of a ragged last batch as well."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from training import LOSS, network

from fnn import train

PROGRAM = Path(__file__).with_name("evaluated_on_devices.py")


@pytest.fixture(scope="module")
def found():
    environment = {**os.environ, "PYTHONPATH": str(PROGRAM.parents[2])}
    done = subprocess.run(
        [sys.executable, str(PROGRAM)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout)


@pytest.mark.parametrize("mesh", ["data", "fully sharded", "mixed"])
def test_it_is_the_evaluation_of_one_device(found, mesh):
    assert found[mesh]["distance"] < 1e-12
    assert found[mesh]["fit"] < 1e-12
    assert found[mesh]["whole"]
    assert found[mesh]["split"]


class _OnEight:
    batch_parts = 8

    def differentiated(self, derive):
        return derive


def test_a_batch_has_an_example_for_each_device_at_least():
    with pytest.raises(ValueError, match="at least the 8 devices that share a batch, got 7"):
        train.evaluate(network(), LOSS, batch_size=7, shardings=_OnEight())
