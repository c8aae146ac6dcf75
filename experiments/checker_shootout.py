"""Which checker sees which wrong derivative: fnn, `check_grads`, chex, all columns by differences.

    python -m experiments.checker_shootout [--quick] [--seeds 20] [--only linear relu] [--workers 2]

Every derivative of the catalogue (`shootout_dense`, `shootout_images`), right and with each fault, on
20 data seeds, at {tiny, real} shapes, in {f32, f64, bf16}: how often a fault is seen, how often a right
derivative is called wrong, how often the two are told apart, and how long a check takes. The tables are
printed, and written as JSON to ``runs/checker_shootout.json``. ``--quick`` is one seed of three
subjects, tiny and in f32. Exit status 1 if fnn missed a fault or called a right derivative wrong.

`check_grads` is run forward, reverse, and in reverse at order 2; `chex.assert_numerical_grads` in
reverse. A checker of forward mode is given the fault as a `custom_jvp`; where the fault is not linear
in dy, no such form exists ("n/a", not counted). The full Jacobian is n/a at real shapes, where it is
minutes a check. Where fnn's first method already rejects, the others are left out: what one rejects,
all reject. Right derivatives go through all of them.

Found with jax 0.10.2 on 2 cores in 11 minutes, 10 functions and 66 faults: fnn saw all of 7,920 faulty
derivatives and rejected none of 1,200 right ones. `check_grads` in reverse is good where it is meant to
be used: in f64 it saw 94 % (tiny) and 96 % (real), at order 2 97 % and 99 %; it rejected 0.5 % and 15 %
of the right ones, in f32 1.5 % and 27 %, in bf16 94 %. Forward mode saw 13 % at real shapes in f32.
fnn / `check_grads` of both modes at order 2: 0.2 to 2.6 once compiled, 0.6 to 3.4 in the first call.
"""

import argparse
import json
import multiprocessing
import statistics
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import jax

from experiments.shootout_checkers import (
    CHECKERS,
    DTYPES,
    SUBJECTS,
    Case,
    Word,
    by_fnn_in_steps,
    run,
)
from experiments.shootout_time import Times, table, times

SIZES = ("tiny", "real")
QUICK = ("linear", "relu", "softmax")


class Verdict(NamedTuple):
    """What one checker said of one case, and after how many seconds."""

    case: Case
    checker: str
    word: Word
    seconds: float


class Unit(NamedTuple):
    """What one process does at a time."""

    subject: str
    size: str
    seeds: int
    dtypes: tuple[str, ...]
    rounds: int  # of the timing


def tried(unit: Unit) -> tuple[list[Verdict], Times | None]:
    """All verdicts of a unit, and how long a check of it takes."""
    measured = times(unit.subject, unit.size, unit.rounds) if unit.rounds else None
    verdicts = []
    faults = [None, *SUBJECTS[unit.subject].faults]
    for fault, dtype, seed in product(faults, unit.dtypes, range(unit.seeds)):
        case = Case(unit.subject, fault, unit.size, dtype, seed)
        for name, checker in CHECKERS.items():
            if name == "fnn" and fault is not None:
                checker = by_fnn_in_steps
            start = time.perf_counter()
            try:
                word = run(checker, case)
            except Exception as error:
                error.add_note(f"{name} on {case}")
                raise
            verdicts.append(Verdict(case, name, word, time.perf_counter() - start))
    return verdicts, measured


def all_tried(units: Sequence[Unit], workers: int) -> Iterator[tuple[list[Verdict], Times | None]]:
    """Every unit, in processes of their own if there are to be several at a time."""
    if workers == 1:
        yield from map(tried, units)
        return
    with ProcessPoolExecutor(
        workers,
        mp_context=multiprocessing.get_context("spawn"),
        max_tasks_per_child=1,  # what a process compiled goes with it
    ) as pool:
        yield from pool.map(tried, units)


def rate(verdicts: Sequence[Verdict]) -> str:
    """How many of those that could be asked were rejected."""
    asked = [verdict for verdict in verdicts if verdict.word != "n/a"]
    if not asked:
        return "n/a"
    rejected = sum(verdict.word == "rejects" for verdict in asked)
    return (
        f"{100 * rejected / len(asked):.1f} %"
        if rejected % len(asked)
        else ("100 %" if rejected else "0")
    )


def rates(verdicts: Sequence[Verdict], heading: str) -> str:
    """A table of rejections: a row a checker, a column a dtype and size."""
    columns = list(product(SIZES, DTYPES))
    lines = [
        f"{heading:22}"
        + "".join(f"{s + ' ' + d:>11}" for s, d in columns)
        + f"{'all':>9}{'asked':>8}"
    ]
    for checker in CHECKERS:
        own = [verdict for verdict in verdicts if verdict.checker == checker]
        cells = [
            rate([v for v in own if (v.case.size, v.case.dtype) == column]) for column in columns
        ]
        asked = sum(verdict.word != "n/a" for verdict in own)
        lines.append(
            f"{checker:22}" + "".join(f"{cell:>11}" for cell in cells) + f"{rate(own):>9}{asked:>8}"
        )
    return "\n".join(lines)


def told_apart(wrong: Sequence[Verdict], right: Sequence[Verdict]) -> list[Verdict]:
    """The verdicts on faults, where those count as accepted whose right derivative was rejected.

    Who rejects everything, sees every fault. This asks of a checker that it accepts the right one of
    the same data.
    """
    alarms = {(v.checker, v.case) for v in right if v.word == "rejects"}
    return [
        v._replace(word="accepts")
        if v.word == "rejects" and (v.checker, v.case._replace(fault=None)) in alarms
        else v
        for v in wrong
    ]


def missed(verdicts: Sequence[Verdict]) -> str:
    """Rates of every fault that some checker missed at least once, over all shapes and dtypes."""
    lines = [f"{'seen, no false alarm':40}" + "".join(f"{_short(c):>12}" for c in CHECKERS)]
    for name, fault in {(v.case.subject, v.case.fault): None for v in verdicts if v.case.fault}:
        own = [v for v in verdicts if (v.case.subject, v.case.fault) == (name, fault)]
        if any(verdict.word == "accepts" for verdict in own):
            cells = [rate([v for v in own if v.checker == checker]) for checker in CHECKERS]
            lines.append(f"{f'{name}: {fault}':40}" + "".join(f"{cell:>12}" for cell in cells))
    return "\n".join(lines)


def durations(right: Sequence[Verdict]) -> str:
    """Milliseconds a check of a right derivative: a row a checker, the median over all of a size."""
    lines = [f"{'ms a check, median':22}" + "".join(f"{size:>11}" for size in SIZES)]
    for checker in CHECKERS:
        taken = [
            [v.seconds for v in right if (v.checker, v.case.size) == (checker, size)]
            for size in SIZES
        ]
        cells = [f"{1e3 * statistics.median(seconds):.0f}" if seconds else "-" for seconds in taken]
        lines.append(f"{checker:22}" + "".join(f"{cell:>11}" for cell in cells))
    return "\n".join(lines)


def _short(checker: str) -> str:
    return checker.replace("check_grads", "c_g").replace("full ", "")


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the tables; 1 if fnn missed a fault or called a right derivative wrong, else 0."""
    options = _parse(arguments)
    names = options.only or (QUICK if options.quick else tuple(SUBJECTS))
    sizes = SIZES[:1] if options.quick else SIZES
    dtypes = ("f32",) if options.quick else tuple(DTYPES)
    seeds, rounds = (1, 0) if options.quick else (options.seeds, options.rounds)
    units = [Unit(name, size, seeds, dtypes, rounds) for size in sizes[::-1] for name in names]
    start = time.perf_counter()
    verdicts: list[Verdict] = []
    measured: list[Times] = []
    workers = 1 if options.quick else options.workers
    for unit, (found, taken) in zip(units, all_tried(units, workers), strict=True):
        verdicts += found
        measured += [taken] if taken else []
        print(f"{unit.subject}, {unit.size}: {len(found)} checks", flush=True)
    right = [verdict for verdict in verdicts if verdict.case.fault is None]
    wrong = [verdict for verdict in verdicts if verdict.case.fault is not None]
    apart = told_apart(wrong, right)
    faults = {(verdict.case.subject, verdict.case.fault) for verdict in wrong}
    print(f"\n{len(names)} functions, {len(faults)} faults, jax {jax.__version__}")
    print(
        f"\n{rates(wrong, 'faults seen')}\n\n{rates(right, 'false alarms')}\n\n"
        f"{rates(apart, 'seen, no false alarm')}\n\n{missed(apart)}"
        f"\n\n{durations(right)}"
    )
    if measured:
        print(f"\n{table(measured)}")
    print(f"\n{time.perf_counter() - start:.0f} s")
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(_as_json(verdicts, measured), indent=1), encoding="utf-8")
    unseen = [v for v in wrong if v.checker == "fnn" and v.word != "rejects"]
    alarms = [v for v in right if v.checker == "fnn" and v.word != "accepts"]
    for verdict in (*unseen, *alarms):
        print(f"fnn {verdict.word}: {verdict.case}")
    return int(bool(unseen or alarms))


def _as_json(verdicts: Sequence[Verdict], measured: Sequence[Times]) -> dict[str, Any]:
    return {
        "jax": jax.__version__,
        "checks": [
            {**v.case._asdict(), "checker": v.checker, "word": v.word, "seconds": v.seconds}
            for v in verdicts
        ],
        "times": [{**row._asdict(), "warm": row.warm._asdict()} for row in measured],
    }


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=20, help="data seeds for each derivative")
    parser.add_argument("--only", nargs="+", choices=SUBJECTS, help="these functions alone")
    parser.add_argument("--quick", action="store_true", help="one seed of three, in under a minute")
    parser.add_argument("--rounds", type=int, default=7, help="of the timing; 0 leaves it out")
    parser.add_argument("--workers", type=int, default=2, help="processes")
    parser.add_argument("--out", type=Path, default=Path("runs/checker_shootout.json"))
    return parser.parse_args(arguments)


if __name__ == "__main__":
    raise SystemExit(main())
