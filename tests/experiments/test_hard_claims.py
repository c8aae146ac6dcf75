"""The claims about hard inputs, as far as they are about this package."""

from experiments import hard_inputs


def answers(claims):
    """What fnn answers to each question."""
    return [answer for _, who, answer in claims() if who.startswith("fnn")]


def test_fnn_answers_as_the_page_says():
    for answer in answers(hard_inputs.normalizations):
        error, std = answer.split("; ")
        assert float(error) < 1e-5
        assert std == "1 to 1"
    by_hand, three = answers(hard_inputs.minus_infinity)
    assert by_hand == "0.6931; 0 -0.5 0.5"
    assert three in ("0.6931; 0 -0.5 0.5; 0", "0.6931; 0 -0.5 0.5; -0")
    raised, compiled, *others = answers(hard_inputs.labels_out_of_range)
    assert raised.startswith("ValueError: ")
    assert [compiled, others[1]] == ["nan; nan nan nan"] * 2
    assert answers(hard_inputs.saturated) == ["400; 1 0 -1"]
    assert answers(hard_inputs.ties) == ["0", "1 0 0", "0.5 0.5 0"]


def test_the_table_marks_agreement_and_its_exit_status_is_zero(capsys):
    assert hard_inputs.table(("sigmoid",)) == 0
    line = capsys.readouterr().out.splitlines()[-1]
    assert line.split()[:3] == ["sigmoid", "=", "inf"]
    assert "≠" not in line
