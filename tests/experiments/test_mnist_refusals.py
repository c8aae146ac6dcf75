"""What `experiments.mnist` cannot begin with is refused before anything is shown or written."""

import pytest

from experiments import mnist

SMALL = ["--dataset", "digits", "--model", "mlp", "--no-check-gradients"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--dataset", "mnist", "--data-dir", "no-such-folder"], "no-such-folder"),
        (
            ["--dataset", "mnist", "--data-dir", "no-such-folder"],
            "(here: --data-dir and --download)",
        ),
        (["--dataset", "digits", "--batch-size", "2000"], "batch size from 1 to the 1437"),
        (["--dataset", "digits", "--epochs", "0"], "--epochs >= 1"),
        (["--dataset", "digits", "--rate", "nan"], "--rate > 0"),
    ],
)
def test_what_cannot_begin_says_why(arguments, words, capsys):
    assert mnist.main(arguments) == 2
    assert words in capsys.readouterr().out


@pytest.mark.parametrize("place", ["file", "file/below/it"])
def test_an_out_that_cannot_be_written_is_refused_before_anything_is_shown(place, tmp_path, capsys):
    (tmp_path / "file").write_text("mine")
    assert mnist.main([*SMALL, "--out", str(tmp_path / place)]) == 2
    printed = capsys.readouterr().out
    assert "cannot begin: --out" in printed
    assert str(tmp_path / place) in printed
    assert "images to train" not in printed
    assert (tmp_path / "file").read_text() == "mine"


def test_an_out_where_nothing_may_be_written_is_refused_with_the_reason(
    tmp_path, monkeypatch, capsys
):
    def forbidden(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("experiments.folder.tempfile.TemporaryFile", forbidden)
    assert mnist.main([*SMALL, "--out", str(tmp_path / "run")]) == 2
    assert "Permission denied" in capsys.readouterr().out
