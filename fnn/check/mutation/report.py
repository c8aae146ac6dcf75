"""What became of every mutant, as values, and the page that says so."""

from collections import Counter
from typing import Literal, NamedTuple

from fnn.check.mutation.mutants import Mutant
from fnn.check.reports.report import GradientError
from fnn.tables import table

Outcome = Literal["killed", "survived", "equivalent"]


class Finding(NamedTuple):
    """One mutant: killed by a method, alive, or no fault."""

    mutant: Mutant
    outcome: Outcome
    reason: str  # the row that killed it; the largest difference of a survivor; the evidence

    @property
    def group(self) -> str:
        """What its line of the table is called: the equation's operation, or the catalogue."""
        return self.mutant.fault.partition(":")[0] if self.mutant.location else "catalogue"


class MutationReport(NamedTuple):
    """All mutants of one backward pass."""

    name: str
    findings: tuple[Finding, ...]

    @property
    def killed(self) -> tuple[Finding, ...]:
        """Those that a method of the checker calls wrong."""
        return self._with("killed")

    @property
    def survivors(self) -> tuple[Finding, ...]:
        """Those that give other results than the original, and that no method calls wrong."""
        return self._with("survived")

    @property
    def equivalents(self) -> tuple[Finding, ...]:
        """Those that give the original's results at every input tried; each with its evidence."""
        return self._with("equivalent")

    @property
    def score(self) -> float:
        """killed / (killed + survivors); 1 where there is nothing to kill."""
        faults = len(self.killed) + len(self.survivors)
        return len(self.killed) / faults if faults else 1.0

    @property
    def ok(self) -> bool:
        """Whether no mutant survived."""
        return not self.survivors

    def __str__(self) -> str:
        counts = Counter((finding.group, finding.outcome) for finding in self.findings)
        groups = list(dict.fromkeys(finding.group for finding in self.findings))
        outcomes: tuple[Outcome, ...] = ("killed", "survived", "equivalent")
        lines = [
            [group, *(str(counts[group, outcome]) for outcome in outcomes)] for group in groups
        ]
        total = [str(len(self._with(outcome))) for outcome in outcomes]
        survivors = [f"\nsurvived: {each.mutant}\n  {each.reason}" for each in self.survivors]
        reasons: dict[str, dict[str, list[str]]] = {}
        for finding in self.equivalents:
            mutant = finding.mutant
            place = f"{mutant.source}, equation {mutant.equation}"
            reasons.setdefault(finding.reason, {}).setdefault(place, []).append(mutant.fault)
        equivalents = [
            "\n".join(
                [
                    f"\nequivalent: {reason}",
                    *(f"  {place}: {'; '.join(faults)}" for place, faults in places.items()),
                ]
            )
            for reason, places in reasons.items()
        ]
        head = f"{self.name}: mutation score {percent(self.score)}, {total[0]} killed, "
        return "\n".join(
            [
                head + f"{total[1]} survived, {total[2]} equivalent",
                *table(["operation", *outcomes], [*lines, ["all", *total]]),
                *survivors,
                *equivalents,
            ]
        )

    def raise_if_survivors(self) -> None:
        """Raise `GradientError` with this report as its message, if a mutant survived."""
        if not self.ok:
            raise GradientError(str(self))

    def _with(self, outcome: Outcome) -> tuple[Finding, ...]:
        return tuple(finding for finding in self.findings if finding.outcome == outcome)


def percent(score: float) -> str:
    """100 % only for all of them."""
    return "100 %" if score == 1 else f"{min(100 * score, 99.9):.1f} %"
