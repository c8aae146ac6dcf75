"""The programs of the README run as they stand, and prove what they say."""

import re
from pathlib import Path

import pytest

README = (Path(__file__).parent.parent / "README.md").read_text()
PROGRAMS = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)


def test_the_training_program_trains(capsys):
    exec(PROGRAMS[0], {})
    last = capsys.readouterr().out.splitlines()[-1]
    assert float(last.split()[-1]) > 0.93


def test_the_layer_is_proved_and_a_wrong_one_is_not():
    exec(PROGRAMS[1], {})
    wrong = PROGRAMS[1].replace("dy / scale**2", "dy / scale")
    assert wrong != PROGRAMS[1]
    with pytest.raises(AssertionError, match="x"):
        exec(wrong, {})


def test_the_training_program_has_about_twenty_lines():
    assert len([line for line in PROGRAMS[0].splitlines() if line.strip()]) <= 21
