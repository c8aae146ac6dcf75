"""No file, however damaged, makes a reader do anything but read it rightly or refuse it by name.

Twelve readers, each against files that are damaged by chance but the same in every run: 500 here, and
100,000 in the slow test, in a process whose memory is limited. See `fuzzing` for what is judged.
"""

import json
import random
import subprocess
import sys
import time
from pathlib import Path

import fuzzing
import numpy as np
import pytest
from fuzz_subjects import NAME, REFUSED, SUBJECTS, UNKNOWN, Subject
from mutants import mutant

QUICK, SLOW = 500, 100_000


@pytest.mark.parametrize("name", SUBJECTS)
def test_some_damaged_files(name):
    seen = fuzzing.campaign(name, QUICK, every=10, seed=1)
    assert 0.01 * QUICK < seen["accepted"] < 0.95 * QUICK


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="address space is limited and read as on Linux")
@pytest.mark.parametrize("name", SUBJECTS)
def test_many_damaged_files_in_limited_memory(name):
    command = [sys.executable, "-W", "error", fuzzing.__file__, name, str(SLOW)]
    run = subprocess.run(
        command, capture_output=True, text=True, timeout=1800, cwd=Path(__file__).parents[2]
    )
    assert run.returncode == 0, run.stderr[-4000:]
    seen = json.loads(run.stdout)
    print(name, seen)
    assert seen["files"] == SLOW
    assert 0.01 * SLOW < seen["accepted"] < 0.95 * SLOW
    assert seen["grown bytes"] < 2**25


def test_the_damage_is_the_same_in_every_run_and_of_every_kind():
    seeds = [bytes(range(200)), b"0123456789" * 5]
    made = [mutant(seeds, random.Random(n)) for n in range(300)]
    assert made == [mutant(seeds, random.Random(n)) for n in range(300)]
    assert len({*made}) > 280
    assert {len(data) < 50 for data in made} == {True, False}
    assert any(len(data) > 200 for data in made)


WHOLE = SUBJECTS["idx"]


@pytest.mark.parametrize(
    ("read", "fault"),
    [
        (lambda data: WHOLE.read(data)[:1], "a whole file"),
        (lambda data: WHOLE.read(data if data in WHOLE.seeds else WHOLE.seeds[0]), "idx .: array"),
        (lambda data: WHOLE.read(data) if data in WHOLE.seeds else {}[0], "KeyError"),
        (lambda data: WHOLE.read(data) if data in WHOLE.seeds else int("x"), "invalid literal"),
        (lambda data: (bytearray(2**21), WHOLE.read(data))[1], "bytes for"),
        (lambda data: WHOLE.read(data).astype(np.int16), "a whole file"),
    ],
    ids=["part", "anything", "foreign exception", "unnamed", "memory", "type"],
)
def test_a_faulty_reader_is_found(read, fault, monkeypatch):
    monkeypatch.setitem(fuzzing.SUBJECTS, "idx", Subject(WHOLE.seeds, read, WHOLE.oracle))
    with pytest.raises((AssertionError, ValueError), match=fault):
        fuzzing.campaign("idx", 2000, every=10)


def test_a_slow_reader_is_found(monkeypatch):
    def read(data):
        end = time.process_time() + 0.02
        while data not in WHOLE.seeds and time.process_time() < end:
            pass
        return WHOLE.read(data)

    monkeypatch.setattr(fuzzing, "MAX_SECONDS", 0.01)
    monkeypatch.setitem(fuzzing.SUBJECTS, "idx", Subject(WHOLE.seeds, read, WHOLE.oracle))
    with pytest.raises(AssertionError, match=" s for "):
        fuzzing.campaign("idx", 2000, every=10)


def test_answers_are_compared_in_every_bit():
    a = np.array([1.0, np.nan], np.float32)
    assert fuzzing.equal({"a": a, "b": (1, [a])}, {"a": a.copy(), "b": [1, (a,)]})
    assert not fuzzing.equal(a, a.astype(np.float64))
    assert not fuzzing.equal(a, a[None])
    assert not fuzzing.equal({"a": a}, {"b": a})
    assert not fuzzing.equal((a,), (a, a))
    assert not fuzzing.equal(np.array([0.0]), np.array([-0.0]))
    assert fuzzing.judged(None, REFUSED)
    assert fuzzing.judged(None, UNKNOWN)
    assert not fuzzing.judged(a, REFUSED)
    assert not fuzzing.judged(None, a)
    assert NAME


def test_a_reader_that_others_have_delayed_is_not_blamed(monkeypatch):
    def read(data):
        if data not in WHOLE.seeds:
            time.sleep(0.02)
        return WHOLE.read(data)

    monkeypatch.setattr(fuzzing, "MAX_SECONDS", 0.015)
    monkeypatch.setitem(fuzzing.SUBJECTS, "idx", Subject(WHOLE.seeds, read, WHOLE.oracle))
    assert fuzzing.campaign("idx", 5, every=10)["files"] == 5
