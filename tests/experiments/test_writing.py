"""The character LSTM's command: its texts, its sequences, and a run from end to end."""

import numpy as np
import pytest

from experiments import char_lstm


def test_learns_and_writes(capsys):
    code = char_lstm.main(
        ["--epochs", "2", "--features", "8", "--layers", "1", "--steps", "16", "--sample", "30",
         "--gradient", "both", "--prompt", "Sha"]
    )  # fmt: skip
    out = capsys.readouterr().out
    assert code == char_lstm.DONE
    assert "Sonnet 18: 621 characters to train on, 0 held out, 40 different; 2 steps" in out
    distance = float(out.split("distance from jax.grad ")[1].split(",")[0])
    assert distance < 1e-5
    assert len(out.rstrip("\n").split("\nSha")[1]) <= 30


def test_reads_tiny_shakespeare_from_a_folder(tmp_path):
    file = tmp_path / "text" / "tinyshakespeare" / "input.txt"
    file.parent.mkdir(parents=True)
    file.write_text("ba\n" * 20)
    text = char_lstm.read(tmp_path)
    assert (text.name, text.alphabet) == ("tiny Shakespeare", "\nab")
    assert (len(text.train), len(text.held_out)) == (54, 6)
    assert text.decoded(text.train[:4]) == "ba\nb"
    np.testing.assert_array_equal(text.encoded("ab"), [1, 2])


def test_targets_are_the_next_characters():
    x, target = char_lstm.sequences(np.arange(1000), 10)
    np.testing.assert_array_equal(target, x + 1)
    assert target.max() == 999 - (999 - 10) % 10
    starts = x[:, 0]
    assert (np.diff(starts) == 10).all()
    closer, _ = char_lstm.sequences(np.arange(100), 10)
    assert len(closer) == 90


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--data-dir", "nowhere"], "cannot begin: no file nowhere/text/tinyshakespeare/input.txt"),
        (["--prompt", "Ω"], "a prompt of characters of the text, got 'Ω'"),
        (["--steps", "621"], "steps from 1 to 620 for this text, got 621"),
        (["--batch-size", "10000"], "expected a batch size from 1 to"),
    ],
)
def test_says_why_it_cannot_begin(arguments, message, capsys):
    assert char_lstm.main(arguments) == char_lstm.MISUSED
    assert message in capsys.readouterr().out
