"""What the doctor finds in networks with an illness each, and that it finds nothing in sound ones.

    python -m experiments.doctor_table [--seeds 3] [--only WORD]

The patients are those of `tests.diagnostics.sick_networks`: digits of scikit-learn, and characters. A row
a patient: in how many seeds its illness is found by name, or, of a sound one, how many alarms there are;
what the first verdict says; what else was said. Then, of all sound patients, how near the numbers came to
the limits. Machine: 2 cores of a 2.5 GHz Xeon; some minutes.
"""

import argparse
import collections
import time

import jax

from fnn.diagnostics.doctor import Diagnosis, doctor
from fnn.tables import table
from tests.diagnostics.sick_networks import Case, healthy, sick


def main() -> None:
    """Print both tables and the margins."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", default="")
    given = parser.parse_args()
    seeds = range(given.seeds)
    began = time.process_time()
    lines, missed = [], 0
    for name, case in sick().items():
        if given.only in name:
            found = [_asked(case, seed) for seed in seeds]
            hits = sum(case.illness in diagnosis.illnesses for diagnosis in found)
            missed += len(found) - hits
            also = [each for each in found[0].illnesses if each != case.illness]
            lines.append([name, case.illness, f"{hits} of {len(found)}", ", ".join(also)])
    print("\n".join(table(["sick network", "found by name", "seeds", "also"], lines, left=4)))
    print()
    lines, alarms = [], 0
    margins: dict[str, list[float]] = collections.defaultdict(list)
    for name, case in healthy().items():
        if given.only in name:
            found = [_asked(case, seed) for seed in seeds]
            wrong = [each for diagnosis in found for each in diagnosis.illnesses]
            alarms += len(wrong)
            asked = sum(verdict.status == "ok" for verdict in found[0].verdicts)
            lines.append([name, ", ".join(wrong) or "none", str(asked)])
            for diagnosis in found:
                for verdict in diagnosis.verdicts:
                    if verdict.status == "ok" and verdict.value is not None:
                        margins[verdict.check].append(verdict.value)
    print("\n".join(table(["sound network", "alarms", "checks made"], lines, left=2)))
    print()
    lines = [[name, f"{min(v):.3g}", f"{max(v):.3g}"] for name, v in margins.items()]
    print("\n".join(table(["check, of sound networks", "least", "most"], lines)))
    seconds = time.process_time() - began
    print(f"\n{missed} missed, {alarms} false alarms, {seconds:.0f} s of processor time")


def _asked(case: Case, seed: int) -> Diagnosis:
    return doctor(
        case.net,
        case.loss,
        case.examples,
        optimizer=case.optimizer,
        validation=case.validation,
        batch_size=case.batch_size,
        key=jax.random.key(seed),
    )


if __name__ == "__main__":
    main()
