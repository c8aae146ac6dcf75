"""Derivatives that other people wrote, put before `check.function`: what it found in them.

    python -m experiments.foreign [--only optax lineax]

With jax 0.10.2, optax 0.2.8, lineax 0.1.1 and optimistix 0.1.0, 23 functions: 19 are right at the
points that were tried, and four have one fault of three kinds.

- ``optax.safe_softmax_cross_entropy``, at a logit of −∞ with label 0, the case that it is there for:
  reverse mode is right, forward mode is NaN, so a Hessian is, too.
- ``optax.projections.projection_simplex`` and ``multiclass_sparsemax_loss``, which uses it: no gradient
  in bfloat16 and float16, nor for float32 arrays with 64-bit types on. jax raises a TypeError.
- ``jax.scipy.special.spence``: reverse mode is NaN for 1 < x < 2; forward mode is right.

Exit status 1 if something else is found than is written in `foreign_cases`, which also says where a
method is left out, and why: solvers are not asked at a singular matrix.
"""

import argparse
import time
import warnings
from collections.abc import Sequence

from experiments.foreign_cases import Case, cases, methods_of
from fnn import check


def examined(case: Case) -> check.Report:
    """The report on one case."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # other packages' words about their own dtypes
        return check.function(
            case.function, *case.arguments, reference=case.reference, methods=methods_of(case)
        )


def main(arguments: Sequence[str] | None = None) -> int:
    """Print a line a case, then what was found; 1 if that is not what was expected."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--only", nargs="+", default=[""], help="names that begin with one of these"
    )
    chosen = parser.parse_args(arguments).only
    print(f"{'':46}{'comparisons':>12}{'wrong':>7}{'undecided':>11}{'kink':>6}{'s':>7}")
    unexpected = []
    found = []
    for name, case in cases().items():
        if not name.startswith(tuple(chosen)):
            continue
        start = time.perf_counter()
        report = examined(case)
        count = {
            verdict: sum(row.verdict == verdict for row in report.rows)
            for verdict in ("wrong", "undecided", "kink")
        }
        print(
            f"{name:46}{len(report.rows):12}{count['wrong']:7}{count['undecided']:11}"
            f"{count['kink']:6}{time.perf_counter() - start:7.1f}",
            flush=True,
        )
        if report.ok == bool(case.finding):
            unexpected.append(name)
        if not report.ok:
            found.append(f"{name}: {case.finding or 'unexpected'}\n{report.worst}")
    print("", *found, sep="\n")
    print(*(f"not as expected: {name}" for name in unexpected), sep="\n")
    return int(bool(unexpected))


if __name__ == "__main__":
    raise SystemExit(main())
