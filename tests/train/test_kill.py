"""`kill -9` at random moments: nothing is lost but the steps since the last save, and no bit differs."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(__file__).with_name("killed_training.py")


@pytest.mark.skipif(sys.platform == "win32", reason="children are forked and killed")
@pytest.mark.parametrize("kills", [2, pytest.param(50, marks=pytest.mark.slow)])
def test_killed_again_and_again(kills, tmp_path, seed):
    done = subprocess.run(
        [sys.executable, PROGRAM, tmp_path, str(kills), str(seed)],
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["killed"] == result["never"]
    step, _bits = result["never"]
    assert step == (result["reached"] // 4 + 2) * 4
    names = [f"step_{s:08d}" for s in (step - 4, step - 2, step)]
    assert result["left"] == [".lock", *names]
    if kills > 10:
        assert 0 < result["within a save"] < kills
        assert result["reached"] > kills
