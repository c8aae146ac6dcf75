"""`fnn mutation`: thin over the mutation score, with the exit status of a gate."""

import pytest

from fnn.check.mutation import MutationReport
from fnn.cli import main, mutation

TANH = ["mutation", "fnn.layers:tanh", "--input", "f32[2,3]"]


def test_the_exit_status_is_the_score(capsys):
    status = main(TANH)
    out = capsys.readouterr().out
    assert out.startswith("tanh: mutation score ")
    assert (status == 0) == (" 0 survived" in out.splitlines()[0])


def test_quiet_is_quiet_where_no_fault_survives(monkeypatch, capsys):
    seen = []

    def score(layer, x, seed):
        seen.append((layer.name, x.shape, seed))
        return MutationReport(layer.name, ())

    monkeypatch.setattr(mutation, "mutation_score", score)
    assert main([*TANH, "--quiet", "--seed", "4"]) == 0
    assert capsys.readouterr().out == ""
    assert seen == [("tanh", (2, 3), 4)]


def test_a_survivor_exits_with_1(capsys, monkeypatch):
    """As where the checker has no methods left."""
    score = mutation.mutation_score
    monkeypatch.setattr(mutation, "mutation_score", lambda *a, **k: score(*a, methods=[], **k))
    assert main(TANH) == 1
    assert "survived: " in capsys.readouterr().out


def test_a_backward_that_is_wrong_as_it_stands_exits_with_1(tmp_path, monkeypatch, capsys):
    (tmp_path / "wrong_for_fnn.py").write_text(
        "from fnn import pure\n"
        "wrong = pure('wrong', lambda p, x: (x * x, x), lambda p, x, dy: (p, 3 * x * dy))\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    assert main(["mutation", "wrong_for_fnn:wrong", "--input", "f32[3]"]) == 1
    assert "expected a backward that passes" in capsys.readouterr().out


def test_a_loss_takes_a_target(monkeypatch, capsys):
    seen = []

    def score(loss, prediction, target, seed):
        seen.append((loss.name, prediction.shape, target.shape, seed))
        return MutationReport(loss.name, ())

    monkeypatch.setattr(mutation, "mutation_score_of_loss", score)
    arguments = ["fnn.losses:softmax_cross_entropy", "--input", "f32[4,3]", "--target", "i32[4]<3"]
    assert main(["mutation", *arguments, "--seed", "5"]) == 0
    assert seen == [("softmax_cross_entropy", (4, 3), (4,), 5)]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["fnn.layers:tanh"], "got Layer with 0 --input"),
        (
            ["fnn.losses:softmax_cross_entropy", "--input", "f32[2]"],
            "got Loss with 1 --input and no",
        ),
        (["jax.nn:softplus", "--input", "f32[2]"], "expected a Layer with --input, or a Loss"),
    ],
)
def test_what_cannot_be_measured_exits_with_2(capsys, arguments, said):
    assert main(["mutation", *arguments]) == 2
    assert said in capsys.readouterr().err
