"""The history of a run: what it keeps of each report, and when it touches the disk."""

import json
import math
from types import SimpleNamespace

import numpy as np
import pytest

from experiments.record import Record


def report(step, distance):
    one = np.ones(1, np.float32)
    info = SimpleNamespace(
        loss=one, metrics={"accuracy": one}, gradient_norm=one, distance=distance * one
    )
    return SimpleNamespace(
        info=info, steps=step, epochs=step / 10, evaluation=None, seconds=0.5, train_state=None
    )


@pytest.mark.parametrize(
    "distances", [(1e-7, math.nan, 1e-6), (math.nan, 1e-7), (1e-7, math.nan)], ids=str
)
def test_a_distance_that_is_not_a_number_is_the_largest(distances, tmp_path):
    with Record(tmp_path / "log.jsonl", 32) as record:
        for step, distance in enumerate(distances, start=1):
            record.add(report(step, distance))
    assert math.isnan(record.largest_distance)


def test_the_largest_distance_of_finite_ones(tmp_path):
    with Record(tmp_path / "log.jsonl", 32) as record:
        assert record.largest_distance is None
        for step, distance in enumerate((2e-7, 5e-7, 1e-7), start=1):
            record.add(report(step, distance))
    assert record.largest_distance == pytest.approx(5e-7)


def test_the_file_is_made_with_the_first_line_and_holds_every_one_at_once(tmp_path):
    log = tmp_path / "run" / "log.jsonl"
    with Record(log, 32) as record:
        assert not log.parent.exists()
        for step in (1, 2):
            record.add(report(step, 0.0))
            assert [json.loads(line)["step"] for line in log.read_text().splitlines()] == list(
                range(1, step + 1)
            )
