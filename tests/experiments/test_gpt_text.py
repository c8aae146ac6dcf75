"""The character experiment: its text, its windows, and how it writes."""

import jax.numpy as jnp
import numpy as np
import pytest

from experiments import gpt
from fnn.layers import embedding
from fnn.layers.embedding import EmbeddingParams


def test_numbers_and_windows_of_a_text(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text("abc" * 20, encoding="utf-8")
    text = gpt.numbered(gpt.read(gpt.Config(text=path)))
    assert text.characters == "abc"
    assert "".join(text.characters[i] for i in text.training) == "abc" * 18
    assert len(text.held_out) == 6
    x, following = gpt.windows(text.held_out, 4)
    np.testing.assert_array_equal(x, [[0, 1, 2, 0]])
    np.testing.assert_array_equal(following, [[1, 2, 0, 1]])
    starts = gpt.windows(np.arange(20, dtype=np.int32), 4)[0][:, 0]
    np.testing.assert_array_equal(starts, range(0, 16, 2))


def test_a_data_set_is_found_below_its_folder(tmp_path, monkeypatch):
    path = tmp_path / "text" / "tinyshakespeare" / "input.txt"
    path.parent.mkdir(parents=True)
    path.write_text("First Citizen", encoding="utf-8")
    assert gpt.read(gpt.Config(data_dir=tmp_path)) == "First Citizen"
    monkeypatch.setenv("FNN_DATA_DIR", str(tmp_path))
    assert gpt.read(gpt.Config()) == "First Citizen"
    monkeypatch.delenv("FNN_DATA_DIR")
    assert "def gpt(" in gpt.read(gpt.Config())


@pytest.mark.parametrize("arguments", [["--data-dir", "nowhere"], ["--text", "short.txt"]])
def test_what_cannot_be_read_is_said_and_not_thrown(arguments, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "short.txt").write_text("too short", encoding="utf-8")
    assert gpt.main(arguments) == gpt.MISUSED
    assert "cannot begin" in capsys.readouterr().err


def test_each_character_is_drawn_from_what_the_network_says_after_the_one_before():
    text = gpt.numbered("\nabc")
    certain = 1e3 * jnp.roll(jnp.eye(4), 1, axis=1)  # every character is followed by the next one
    net = embedding(4, 4)
    config = gpt.Config(context=3, sample=9)
    assert gpt.write(net, EmbeddingParams(certain), (), text, config) == "abc\nabc\na"
