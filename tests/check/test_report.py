"""What a check says of one subject: the worst row, and the names and numbers in its text."""

import numpy as np
import pytest
from planted import X, affine, spoiled

from fnn import check


@pytest.fixture(scope="module")
def wrong():
    def spoil(params, cache, dparams, dx, dy):
        return dparams._replace(w=dparams.w.at[2, 3].multiply(1.5)), dx

    return check.layer(spoiled(affine(4), spoil), X)


def test_the_worst_leaf_element_and_values_are_named(wrong):
    row = wrong.worst
    assert (row.path, row.method, row.element) == ("params/w", "reverse mode", (2, 3))
    assert row.hand == pytest.approx(1.5 * row.reference, rel=1e-12)
    assert row.absolute == pytest.approx(abs(row.hand - row.reference), rel=1e-12)
    assert not row.ok
    assert row.relative > row.tolerance == 1e-10


def test_the_relative_error_is_that_of_the_leaf(wrong):
    """Formed once more, from its definition, at the probe that the row names."""
    row = wrong.worst
    trial = check.trial_of(affine(4), X)
    probe = next(p for p in trial.probes if f"{p.name} dy" in row.predicate)
    dw = np.asarray(trial.subject.x).T @ probe.dy
    assert row.reference == pytest.approx(dw[2, 3], rel=1e-12)
    expected = abs(0.5 * dw[2, 3]) / np.linalg.norm(dw)
    assert row.relative == pytest.approx(expected, rel=1e-9)


def test_a_failure_is_a_paragraph(wrong):
    row = wrong.worst
    text = str(wrong)
    count = f"{len(wrong.failures)} of {len(wrong.rows)}"
    assert text.splitlines()[0] == f"affine(4): WRONG, {count} comparisons"
    table, paragraph, *_ = text.split("\n\n")
    cells = {line.split()[0]: line for line in table.splitlines()[3:]}
    assert list(cells) == ["params/w", "params/b", "x", "y", "forward", "backward"]
    assert cells["params/w"].count("WRONG") >= 3  # reverse, forward, numerical
    assert "WRONG" not in cells["params/b"] + cells["x"]
    lines = [line for line in paragraph.splitlines() if not line.startswith("  likely: ")]
    assert lines[0] == "params/w: reverse mode at index (2, 3)"
    assert lines[1] == f"  hand {row.hand:.17g}, reference {row.reference:.17g}"
    assert lines[2] == f"  relative error {row.relative:.1e}, absolute error {row.absolute:.1e}"
    assert lines[3].startswith("  asked: ‖hand − reference‖ <= 1e-10 · max(‖reference‖, ")
    assert lines[4].startswith("  also: ")
    assert "forward mode " in "".join(lines[4:])


@pytest.mark.parametrize("seed", range(4))
def test_what_names_an_element_comes_first(seed):
    """However large the error of an inner product may be beside it."""
    layer = spoiled(affine(4), lambda p, c, dp, dx, dy: (dp._replace(b=1.001 * dp.b), dx))
    report = check.layer(layer, X, seed=seed)
    assert report.worst.method == "reverse mode"
    assert report.worst.element is not None


def test_columns_are_aligned():
    report = check.layer(affine(4), X)
    first, head, rule, *lines = str(report).split("\n\n")[0].splitlines()
    assert first.startswith("affine(4): ok, ")
    assert {len(line) for line in lines} == {len(rule)} == {len(head)}
    report.raise_if_wrong()


def test_a_structure_is_described_in_words():
    def spoil(params, cache, dparams, dx, dy):
        return dparams._replace(b=dparams.b[None]), dx

    row = check.layer(spoiled(affine(4), spoil), X).worst
    assert (row.method, row.hand, row.reference) == ("structure", "float64[1,4]", "float64[4]")
    assert "hand float64[1,4], reference float64[4]" in str(row)


def test_the_worst_of_a_right_layer_is_what_came_nearest():
    report = check.layer(affine(4), X)
    decided = [row for row in report.rows if row.tolerance and row.verdict == "ok"]
    severest = max(row.relative / row.tolerance for row in decided)
    assert report.worst.relative / report.worst.tolerance == severest
    assert report.failures == ()
