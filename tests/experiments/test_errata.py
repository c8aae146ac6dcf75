"""Every exhibit: rejected as printed, with what is missing, and accepted as corrected."""

from pathlib import Path

import numpy as np
import pytest

from experiments import errata
from experiments.errata_claims import CLAIMS
from experiments.errata_formulas import FORMULAS, judge
from experiments.errata_training import TRAINING

PAGE = Path(__file__).parents[2] / "docs" / "errata.md"

MISSING = {
    "Rectifier, backward": ("upstream gradient is missing", "for dy = 1 it would be right"),
    "Rectifier, backward in words": ("upstream gradient is missing", "it is y"),
    "Softmax, backward": ("-sum(y·dy, axis 1) where -y·sum(y·dy, axis 1) is right",),
    "Cross-entropy of logits, backward": (
        "upstream gradient is missing",
        "it has cache/softmax where cache/softmax·sum(cache/p, axis 1) is right",
    ),
    "Cross-entropy of probabilities, backward": ("upstream gradient is missing",),
    "Squared error, backward": ("upstream gradient is missing",),
    "Maximum, backward": ("index 0 counts 2 times and index 2 counts 3 times",),
}


def test_every_formula_has_its_row():
    assert {formula.title for formula in FORMULAS} == set(MISSING)


@pytest.fixture(scope="module")
def verdicts():
    return {formula.title: judge(formula) for formula in FORMULAS}


@pytest.mark.parametrize("title", MISSING)
def test_a_printed_formula_is_rejected_and_its_correction_accepted(verdicts, title):
    verdict = verdicts[title]
    assert verdict.rejected
    assert verdict.accepted
    assert verdict.leaf == "x"
    for words in MISSING[title]:
        assert words in verdict.likely


def test_the_printed_maximum_is_right_without_ties_but_the_checker_makes_its_own():
    (maximum,) = [formula for formula in FORMULAS if formula.title == "Maximum, backward"]
    verdict = judge(maximum._replace(x=np.arange(12, dtype=np.float32).reshape(3, 4)))
    assert verdict.error == 0
    assert verdict.rejected
    assert verdict.accepted


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.title)
def test_a_printed_claim_fails_and_its_correction_holds(claim):
    finding = claim.measure()
    assert not finding.printed_holds, finding.numbers
    assert finding.correct_holds, finding.numbers


def test_the_page_quotes_the_program(verdicts, monkeypatch, capsys):
    monkeypatch.setattr(errata, "judge", lambda formula: verdicts[formula.title])
    assert errata.main([]) == 0
    page = PAGE.read_text(encoding="utf-8")
    quoted = page.partition("```text\n")[2].partition("```")[0]
    assert quoted == capsys.readouterr().out


def test_an_exhibit_that_fails_is_told_by_the_exit_status(monkeypatch, capsys):
    right = FORMULAS[0]._replace(wrong=FORMULAS[0].right)
    monkeypatch.setattr(errata, "FORMULAS", (right,))
    monkeypatch.setattr(errata, "CLAIMS", ())
    assert errata.main([]) == 1
    assert "ACCEPTED" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize("claim", TRAINING, ids=lambda claim: claim.title)
def test_what_only_training_can_test(claim):
    finding = claim.measure()
    assert not finding.printed_holds, finding.numbers
    assert finding.correct_holds, finding.numbers
