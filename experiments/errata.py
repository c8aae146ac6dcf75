"""Every wrong statement of the lecture notes, as printed and as corrected, and what shows it.

    python -m experiments.errata [--train]

A formula for a backward pass goes to the checker, which has to reject it as printed, say what is
missing, and accept the correction. Any other statement is measured. With `--train` also the two that
need training (one to two minutes; half a minute without, on two cores). Exit status: 0 if every printed
statement fails and every correction holds, else 1. Without `--train` the output is the same in every
run; `docs/errata.md` quotes it whole.
"""

import argparse
import sys
from collections.abc import Iterable, Iterator, Sequence

from experiments.errata_claims import CLAIMS, Claim, Finding
from experiments.errata_formulas import FORMULAS, Formula, Verdict, judge
from experiments.errata_training import TRAINING


def main(arguments: Sequence[str] | None = None) -> int:
    """Print every exhibit; 0 if all of them come out as they should."""
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("--train", action="store_true", help="also what only training can test")
    options = parser.parse_args(arguments)
    failed = 0
    for ok, text in exhibits((*CLAIMS, *TRAINING) if options.train else CLAIMS):
        print(text, flush=True)
        failed += not ok
    print(f"{failed} exhibits failed" if failed else "every exhibit came out as it should")
    return int(failed > 0)


def exhibits(claims: Iterable[Claim] = CLAIMS) -> Iterator[tuple[bool, str]]:
    """(whether it came out as it should, the text) of each, the formulas first."""
    for formula in FORMULAS:
        verdict = judge(formula)
        ok = verdict.rejected and verdict.accepted and bool(verdict.likely)
        yield ok, formula_text(formula, verdict)
    for claim in claims:
        finding = claim.measure()
        yield not finding.printed_holds and finding.correct_holds, claim_text(claim, finding)


def formula_text(formula: Formula, verdict: Verdict) -> str:
    """What the checker says of a formula."""
    printed = "rejected" if verdict.rejected else "ACCEPTED"
    corrected = "accepted" if verdict.accepted else "REJECTED"
    lines = [
        formula.title,
        f"  as printed   {formula.printed}",
        f"    {printed}: {verdict.leaf}, relative error {verdict.error:.1e}",
        f"    likely: {verdict.likely or 'NOT FOUND'}",
        f"  corrected    {formula.correct}",
        f"    {corrected}",
    ]
    return _page(lines, formula.remark)


def claim_text(claim: Claim, finding: Finding) -> str:
    """What the measurements say of a claim."""
    lines = [
        claim.title,
        f"  as printed   {claim.printed}",
        f"    {'BORNE OUT' if finding.printed_holds else 'not borne out'}",
        f"  corrected    {claim.correct}",
        f"    {'borne out' if finding.correct_holds else 'NOT BORNE OUT'}",
        *(f"  measured     {number}" for number in finding.numbers),
    ]
    return _page(lines, claim.remark)


def _page(lines: list[str], remark: str) -> str:
    return "\n".join([*lines, f"  note         {remark}"] if remark else lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
