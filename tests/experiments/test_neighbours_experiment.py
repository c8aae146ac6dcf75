"""The baselines' table, on so few images that only its form is tested."""

import re
import sys

import pytest

from experiments import neighbours


def test_the_table(monkeypatch, capsys):
    pytest.importorskip("sklearn")
    options = "--dataset digits --train 200 --test 40 --epochs 1 --k 1 3"
    monkeypatch.setattr(sys, "argv", ["neighbours", *options.split()])
    neighbours.main()
    text = capsys.readouterr().out
    for name in ("1 nearest, L1", "3 nearest, L2", "linear, softmax", "linear, SVM"):
        assert re.search(rf"^{name} +\d+\.\d\d% ± \d+\.\d\d% ", text, re.MULTILINE)
    assert "200 examples, 40 tests" in text
