"""Lines of JSON: valid, whole after a crash, and neither doubled nor lost when a run goes on."""

import json
import math

import numpy as np
import pytest
from logged import evaluation, report

from fnn import logs


def written(path, steps, **given):
    with logs.jsonl(path) as log:
        for step in steps:
            log(report(step, **given))


def test_is_read_back(tmp_path):
    path = tmp_path / "new" / "run.jsonl"
    written(path, [3, 6])
    with logs.jsonl(path) as log:
        log(report(9, evaluation=evaluation()))
    entries = logs.read(path)
    assert [entry["step"] for entry in entries] == [3, 6, 9]
    assert entries[0]["metrics"] == {"accuracy": 0.25}
    assert entries[2]["evaluation"]["reductions"]["confusion"]["counts"] == [[1, 0], [0, 1]]
    assert path.read_bytes().count(b"\n") == 3


def test_numbers_that_json_has_not(tmp_path):
    path = tmp_path / "run.jsonl"
    with logs.jsonl(path) as log:
        log(report(3, loss=[np.inf] * 3, evaluation=evaluation(-np.inf)))

    def refuse(word):
        raise AssertionError(f"{word} is not JSON")

    (line,) = path.read_text().splitlines()
    raw = json.loads(line, parse_constant=refuse)
    assert (raw["loss"], raw["evaluation"]["loss"]) == ("Infinity", "-Infinity")
    (entry,) = logs.read(path)
    assert (entry["loss"], entry["evaluation"]["loss"]) == (math.inf, -math.inf)
    assert math.isnan(entry["evaluation"]["reductions"]["error"])


@pytest.mark.parametrize("resumed", [0, 3, 6, 9])
def test_a_run_that_goes_on_drops_the_lines_that_come_again(tmp_path, resumed):
    path, whole = tmp_path / "run.jsonl", tmp_path / "whole.jsonl"
    written(path, [3, 6, 9])
    written(path, range(resumed + 3, 16, 3))
    written(whole, range(3, 16, 3))
    assert path.read_bytes() == whole.read_bytes()
    assert [p.name for p in tmp_path.iterdir() if "partial" in p.name] == []


def test_every_crash_in_the_last_line_is_mended(tmp_path):
    """The file cut at every byte of its last line: what is read, and what comes after it."""
    path, whole = tmp_path / "run.jsonl", tmp_path / "whole.jsonl"
    written(whole, [3, 6, 9])
    text = whole.read_bytes()
    first = len(b"".join(text.splitlines(keepends=True)[:2]))
    for length in range(first, len(text)):
        path.write_bytes(text[:length])
        steps = [entry["step"] for entry in logs.read(path)]
        assert steps == ([3, 6, 9] if length == len(text) - 1 else [3, 6])
        written(path, [9])
        assert path.read_bytes() == text


@pytest.mark.parametrize("end", [b"\x00" * 40, b"\xff\xfe\n", b'{"step": "6"}\n', b"[1]\n"])
def test_a_last_line_that_is_none(tmp_path, end):
    path = tmp_path / "run.jsonl"
    written(path, [3])
    whole = path.read_bytes()
    path.write_bytes(whole + end)
    assert len(logs.read(path)) == 1
    written(path, [6])
    assert path.read_bytes().startswith(whole + b'{"step": 6')


def test_a_damaged_line_before_the_last_is_not_passed_over(tmp_path):
    path = tmp_path / "run.jsonl"
    written(path, [3, 6])
    first, second = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(first[:20] + b"\n" + second)
    with pytest.raises(ValueError, match=r"a step in line 1 of .*run\.jsonl"):
        logs.read(path)
    with pytest.raises(ValueError, match="a path of its own"):
        written(path, [9])
    assert path.read_bytes() == first[:20] + b"\n" + second


def test_a_line_is_there_at_once(tmp_path):
    path = tmp_path / "run.jsonl"
    with logs.jsonl(path) as log:
        log(report(3))
        assert len(logs.read(path)) == 1


def test_a_folder(tmp_path):
    with pytest.raises(IsADirectoryError, match="expected a file for the log"):
        logs.jsonl(tmp_path)


def test_a_log_of_one_step_more_than_an_epoch(tmp_path):
    """It goes on from within a report's steps: the line that holds them comes again whole."""
    path = tmp_path / "run.jsonl"
    written(path, [3, 6])
    with logs.jsonl(path) as log:
        log(report(6, steps=2))
    assert [entry["step"] for entry in logs.read(path)] == [3, 6]
