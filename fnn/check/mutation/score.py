"""The share of the faults that can be planted into a backward pass that the checker finds.

    check.mutation_score(layer, x).raise_if_survivors()

The backward pass is traced in float64, and each of its equations is changed by each operator that fits
it, one at a time; the catalogue adds what people get wrong besides. Not entered are the bodies of a
`while`, which might then never end, and kernels in Pallas. A mutant is killed if a method of
the checker calls a row of it wrong. It is tried first against reverse mode, whose reference is computed
once; what is left is compared with the original at many inputs (see `evidence`), and what differs there
gets every method.
"""

import functools
from collections.abc import Callable, Sequence

from fnn.check.battery import METHODS, examine
from fnn.check.methods.contract import structure
from fnn.check.methods.reverse import Reference, reference_of, reverse_mode
from fnn.check.mutation.evidence import (
    ROUNDING,
    Difference,
    Input,
    difference,
    has_kinks,
    inputs_of,
    is_other_platform,
    reached,
    run,
)
from fnn.check.mutation.mutants import Mutant, catalogued, planted, program_of
from fnn.check.mutation.report import Finding, MutationReport
from fnn.check.reports.report import GradientError, Report, Row
from fnn.check.subject import Subject
from fnn.check.subjects import given_subject, loss_subject
from fnn.check.trial import Trial, attempt
from fnn.layer import Key, Layer, PyTree
from fnn.losses.loss import Loss

Examination = Callable[[Trial, Sequence[str]], Sequence[Row]]
TOLERANCE = 1e-10
_AT_ONCE = ("structure", "reverse mode")
_SOONEST = ("linearity", "kinks", "eager")  # of the others: cheap, and likely to kill


def mutation_score(
    layer: Layer,
    x: PyTree,
    *,
    params: PyTree | None = None,
    state: PyTree | None = None,
    key: Key = None,
    seed: int = 0,
    methods: Sequence[str] = METHODS,
) -> MutationReport:
    """Plant faults into a layer's backward, and count those that `check.layer` finds at this point.

    Args:
      layer: the layer, or a whole network as one.
      x: its input, and the point at which the checker looks.
      params: as for `check.layer`.
      state: as for `check.layer`.
      key: as for `check.layer`.
      seed: of the probes and of the inputs that a mutant is compared at.
      methods: the names of those to be measured, by default all; the score of ``["forward mode"]`` says
        what that finds alone.

    Raises:
      GradientError: the backward is wrong as it stands, so that there is nothing to measure.
      TypeError: an output is of integers, or a leaf is complex.
      ValueError: a method of another name than those of `METHODS`.
    """
    given = given_subject(layer, x, params=params, state=state, key=key, seed=seed)
    return score(given, seed=seed, methods=methods)


def mutation_score_of_loss(
    loss: Loss,
    prediction: PyTree,
    target: PyTree,
    *,
    seed: int = 0,
    methods: Sequence[str] = METHODS,
) -> MutationReport:
    """The same for a loss at this prediction and target; see `mutation_score`."""
    return score(loss_subject(loss, prediction, target), seed=seed, methods=methods)


def score(given: Subject, *, seed: int = 0, methods: Sequence[str] = METHODS) -> MutationReport:
    """The same for anything that has a forward and a backward pass; see `mutation_score`."""
    trial = attempt(given, seed=seed)

    def found_by(names: Sequence[str], subject: Trial) -> Sequence[Row]:
        return examine(given, subject, tolerance=TOLERANCE, methods=names).rows

    # Before a method may kill, it has to pass the original. The dear ones are seldom asked at all.
    @functools.cache
    def pass_the_original(names: tuple[str, ...]) -> None:
        original = Report(given.name, tuple(found_by(names, trial)))
        if not original.ok:
            raise GradientError(
                f"expected a backward that passes before faults are planted\n{original}"
            )

    def rows_of(mutated: Trial, names: Sequence[str]) -> Sequence[Row]:
        pass_the_original(tuple(names))
        return found_by(names, mutated)

    pass_the_original(tuple(name for name in (*_AT_ONCE, *_SOONEST) if name in methods))
    program = program_of(trial)
    inputs = inputs_of(trial, program)
    live = reached(program, inputs)
    at_once = [name for name in _AT_ONCE if name in methods]
    # At a kink of the given point, "kinks" excuses what reverse mode alone calls wrong.
    trusted = not has_kinks(trial)
    reference = reference_of(trial)
    findings = []
    for mutant in (*planted(trial, program), *catalogued(trial, program)):
        if mutant.location and mutant.location not in live:
            findings.append(_unreached(mutant, is_other_platform(program, mutant.location)))
            continue
        killer = _at_once(mutant, trial, reference, at_once)
        if killer is not None and not trusted:
            doubted = [*at_once, *(name for name in methods if name == "kinks")]
            killer = _first_wrong(rows_of(_mutated(trial, mutant), doubted))
        if killer is None:
            findings.append(_closely(mutant, trial, inputs, methods, rows_of))
        else:
            findings.append(Finding(mutant, "killed", _said(killer)))
    return MutationReport(given.name, tuple(findings))


def _at_once(
    mutant: Mutant, trial: Trial, reference: Reference, names: Sequence[str]
) -> Row | None:
    """The first row that structure or reverse mode call wrong, probe after probe."""
    for i, probe in enumerate(trial.probes if names else ()):
        hand = run(mutant.backward, trial.subject, trial.cache, probe.dy)
        one = trial._replace(probes=(probe,), hand=(hand,))
        alone = reference._replace(gradients=reference.gradients[i : i + 1])
        rows = (*structure(one), *reverse_mode(one, reference=alone))
        wrong = _first_wrong([row for row in rows if row.method in names])
        if wrong is not None:
            return wrong
    return None


def _closely(
    mutant: Mutant,
    trial: Trial,
    inputs: list[Input],
    methods: Sequence[str],
    rows_of: Examination,
) -> Finding:
    """What differs at some input is for every method; what does not is no fault."""
    found = difference(mutant, inputs, TOLERANCE)
    if not found.inputs:
        return Finding(mutant, "equivalent", _evidence(found, len(inputs)))
    mutated = _mutated(trial, mutant)
    for names in ([name for name in _SOONEST if name in methods], methods):
        rows = rows_of(mutated, names)
        wrong = _first_wrong(rows)
        if wrong is not None:
            return Finding(mutant, "killed", _said(wrong))
    looked_at = {given.name for given in inputs if not given.is_drawn}
    if any(row.verdict == "kink" for row in rows) and looked_at.issuperset(found.inputs):
        reason = "another derivative at a kink, of those that a convention may choose"
        return Finding(mutant, "equivalent", reason)
    where = f"{found.leaf}, {found.input}"
    return Finding(mutant, "survived", f"largest relative difference {found.relative:.1e}: {where}")


def _mutated(trial: Trial, mutant: Mutant) -> Trial:
    hand = tuple(
        run(mutant.backward, trial.subject, trial.cache, probe.dy) for probe in trial.probes
    )
    return trial._replace(subject=trial.subject._replace(backward=mutant.backward), hand=hand)


def _first_wrong(rows: Sequence[Row]) -> Row | None:
    return next((row for row in rows if not row.ok), None)


def _unreached(mutant: Mutant, other_platform: bool) -> Finding:
    if other_platform:
        return Finding(
            mutant, "equivalent", "a branch for another platform: it never runs on this one"
        )
    return Finding(mutant, "survived", "its equation was reached by no input")


def _evidence(found: Difference, inputs: int) -> str:
    if found.relative == 0:
        return f"the same result to the last bit at {inputs} inputs"
    if found.relative <= ROUNDING:
        return f"the same result within rounding ({ROUNDING:.0e}) at {inputs} inputs"
    return f"differs by less than is tolerated ({TOLERANCE:.0e}) at {inputs} inputs"


def _said(row: Row) -> str:
    return f"{row.method}, {row.path}"
