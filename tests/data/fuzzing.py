"""A campaign: a reader against many damaged files, each answer judged, with time and memory watched.

As a program, `python fuzzing.py SUBJECT COUNT` runs one in a process of its own, whose address space
may grow by no more than `MAX_GROWTH`, and prints what it saw as JSON.
"""

import contextlib
import json
import random
import sys
import time
import tracemalloc
from typing import Any

import numpy as np
from fuzz_subjects import NAME, REFUSED, SUBJECTS, UNKNOWN, Subject

ALLOWANCE = 1 << 20  # bytes that a reader may take beside twice the file and twice the answer
MAX_SECONDS = 1.0  # for files of some kilobytes
MAX_GROWTH = 96 << 20  # bytes of address space, for a whole campaign


def equal(a: Any, b: Any) -> bool:
    """Whether two answers are the same in every type, shape and bit; a NaN is itself."""
    if isinstance(a, np.ndarray) or isinstance(b, np.ndarray):
        a, b = np.asarray(a), np.asarray(b)
        return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(equal(a[key], b[key]) for key in a)
    if isinstance(a, tuple | list) and isinstance(b, tuple | list):
        return len(a) == len(b) and all(map(equal, a, b))
    return bool(a == b)


def size(answer: Any) -> int:
    """The bytes of an answer."""
    if isinstance(answer, np.ndarray):
        return answer.nbytes
    if isinstance(answer, dict):
        return sum(map(size, answer.values()))
    if isinstance(answer, tuple | list):
        return sum(map(size, answer))
    return sys.getsizeof(answer)


def campaign(name: str, count: int, every: int, seed: int = 0) -> dict[str, float]:
    """Judge the reader `name` on `count` damaged files, its memory on one in `every` of them.

    Raises:
        AssertionError: on the first wrong answer, foreign exception, or excess; the message holds
            the number of the file and its bytes.
    """
    subject, draw = SUBJECTS[name], random.Random(f"{name} {seed}")
    for data in subject.seeds:
        expected = subject.oracle(data, subject.read(data))
        assert judged(subject.read(data), expected), f"{name}: a whole file: {data!r}"
    accepted, slowest, most = 0, 0.0, 0.0
    for number in range(count):
        data = subject.damaged(subject.seeds, draw)
        watched = number % every == 0
        if watched:
            tracemalloc.start()
        start = time.perf_counter()
        answer, refusal = None, NAME
        try:
            answer = subject.read(data)
        except ValueError as error:
            refusal = str(error)
        except Exception as error:
            raise AssertionError(f"{name} {number}: {error!r} for {data!r}") from error
        assert NAME in refusal, f"{name} {number}: {refusal} for {data!r}"
        seconds = time.perf_counter() - start
        if watched:
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
            excess = peak - 2 * (len(data) + (0 if answer is None else size(answer)))
            most = max(most, excess)
            assert excess <= ALLOWANCE, f"{name} {number}: {peak} bytes for {data!r}"
        if seconds >= MAX_SECONDS:  # of the wall's clock, which others may have delayed
            seconds = processor_seconds(subject, data)
            assert seconds < MAX_SECONDS, f"{name} {number}: {seconds} s for {data!r}"
        slowest = max(slowest, seconds)
        expected = subject.oracle(data, answer)
        assert judged(answer, expected), f"{name} {number}: {answer!r} for {data!r}"
        accepted += answer is not None
    return {"files": count, "accepted": accepted, "slowest s": slowest, "excess bytes": most}


def processor_seconds(subject: Subject, data: bytes) -> float:
    """How long the processor is busy with a file that is read once more."""
    start = time.process_time()
    with contextlib.suppress(ValueError):
        subject.read(data)
    return time.process_time() - start


def judged(answer: Any, expected: Any) -> bool:
    if isinstance(expected, str) and expected in (REFUSED, UNKNOWN):
        return answer is None
    return answer is not None and equal(answer, expected)


def main(name: str, count: str) -> None:
    """Run a campaign of `count` files under a limit of memory."""
    import resource  # not on every system

    campaign(name, 100, 1)  # whatever is imported or compiled on the first call
    with open("/proc/self/statm") as file:
        pages = int(file.read().split()[0])
    limit = pages * resource.getpagesize() + MAX_GROWTH
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    seen = campaign(name, int(count), 50)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    print(json.dumps(seen | {"grown bytes": 1024 * grown}))


if __name__ == "__main__":
    main(*sys.argv[1:])
