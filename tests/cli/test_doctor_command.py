"""`fnn doctor`: what it asks, what it writes, and its exit status."""

import json
import sys

import numpy as np
import pytest
from html_pages import Page

from fnn.cli import main

SUBJECTS = '''
"""A sound network, one with a fault, and one whose labels cannot be."""
import jax.numpy as jnp
from fnn import chain, layers, pure

def sound():
    return chain(logits=layers.linear(3))

def sick():
    doubled = pure("doubled", lambda p, x: (x, ()), lambda p, c, dy: (p, 2 * dy))
    return chain(hidden=layers.linear(4), doubled=doubled, act=layers.relu(), logits=layers.linear(3))

def misfit():
    def forward(p, x):
        raise ValueError("this map is too wide")
    wide = pure("wide", forward, lambda p, c, dy: (p, dy))
    return chain(logits=layers.linear(3), wide=wide._replace(init=lambda key, x: ((), ())))

def narrow():
    return chain(logits=layers.linear(2))
'''
LOSS = ("--loss", "fnn.losses:softmax_cross_entropy")


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder with networks and examples in it, as the current one."""
    (tmp_path / "patients_for_fnn.py").write_text(SUBJECTS)
    rng = np.random.default_rng(0)
    y = np.arange(60) % 3
    x = rng.normal(size=(60, 8)) + 3 * np.eye(8)[y]
    np.savez(tmp_path / "batch.npz", x=x - x.mean(), y=y)
    np.savez(tmp_path / "half.npz", x=x, y=y, validation_x=x)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "patients_for_fnn", raising=False)
    yield tmp_path
    sys.modules.pop("patients_for_fnn", None)


def run(name, *options, data="batch.npz", loss=LOSS):
    return main(["doctor", f"patients_for_fnn:{name}", "--data", data, *loss, *options])


def test_one_check_alone(here, capsys):
    written = ("--html", "found.html", "--json", "found.json")
    assert run("sound", "--check", "classes", "--check", "data", *written) == 0
    page = Page((here / "found.html").read_text("utf-8"))
    assert page.of("title") == ["patients_for_fnn:sound: healthy"]
    assert [text.split()[:2] for text in page.of("li")][:2] == [["Verdicts"], ["What", "was"]]
    assert page.of("strong") == ["data", "classes"]
    asked = dict(zip(page.of("dt"), page.of("dd"), strict=True))
    assert asked["data"] == "batch.npz"
    assert asked["check"] == '["classes", "data"]'
    assert json.loads((here / "found.json").read_text())["ok"] is True
    out, err = capsys.readouterr()
    assert out.startswith("healthy: 2 checks")
    assert err == ""
    assert run("sound", "--check", "heart") == 2
    assert "expected checks of data" in capsys.readouterr().err


@pytest.mark.slow
def test_a_sound_network_exits_with_0_and_says_what_was_looked_at(here, capsys):
    optimizer = ("--optimizer", "fnn.optimizers:sgd(0.1)", "--batch-size", "20")
    assert run("sound", *optimizer, "--json", "found.json") == 0
    out, err = capsys.readouterr()
    assert out.startswith("healthy: ")
    assert err == ""
    known = json.loads((here / "found.json").read_text())
    assert known["ok"] is True
    assert {v["check"] for v in known["verdicts"]} >= {"gradient", "rate", "overfit", "leaks"}


@pytest.mark.slow
def test_a_sick_network_exits_with_1_and_names_illness_and_layer(here, capsys):
    assert run("sick", "--quiet") == 1
    out, _ = capsys.readouterr()
    assert out.splitlines()[0].startswith("sick: wrong backward")
    assert "wrong backward at doubled: mend the backward pass" in out


def test_labels_that_cannot_be_exit_with_1(here, capsys):
    assert run("narrow", "--html", "found.html") == 1
    page = Page((here / "found.html").read_text("utf-8"))
    assert "sick: labels out of range" in page.of("p")
    first = next(text for text in page.of("li") if text.startswith("✗ sick"))
    assert "from 0 to 2, and the network has 2 outputs" in first
    assert "number the classes from 0" in first
    out, _ = capsys.readouterr()
    assert out.startswith("sick: labels out of range")
    assert "from 0 to 2, and the network has 2 outputs" in out


@pytest.mark.parametrize(
    ("name", "options", "changed", "message"),
    [
        ("sound", (), {"data": "none.npz"}, "no file 'none.npz'"),
        ("sound", (), {"data": "letters"}, "expected one of packaged, digits"),
        ("sound", (), {"data": "half.npz"}, "both of validation_x and validation_y or none"),
        ("sound", ("--examples", "0"), {}, "expected --examples of at least 1"),
        ("sound", ("--batch-size", "61"), {}, "expected a batch size from 1 to the 60 examples"),
        (
            "sound",
            (),
            {"loss": ("--loss", "fnn.models:mlp")},
            "expected a Loss under 'fnn.models:mlp'",
        ),
        ("sound", ("--optimizer", "fnn.optimizers:adam"), {}, 'as in "fnn.optimizers:adam(…)"'),
        ("nowhere", (), {}, "has no 'nowhere'"),
        # Before anything is looked at: there is nothing to look at.
        ("nowhere", ("--html", "no/a.html"), {}, "--html no/a.html: no such folder 'no'; make it"),
        ("nowhere", ("--json", "."), {}, "--json: expected a file, got the folder '.'"),
    ],
)
def test_what_cannot_be_asked_exits_with_2_and_says_why(
    here, capsys, name, options, changed, message
):
    assert run(name, *options, **changed) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    "command",
    [
        ("doctor", "patients_for_fnn:misfit", "--data", "batch.npz", *LOSS),
        ("check", "patients_for_fnn:misfit", "--input", "f32[4,8]"),
    ],
    ids=["doctor", "check"],
)
def test_an_error_comes_without_what_jax_says_of_its_own_frames(here, capsys, command):
    assert main(command) == 2
    err = capsys.readouterr().err
    assert "ValueError: this map is too wide" in err
    assert "internal frames" not in err
    assert "----" not in err


def test_on_a_terminal_each_verdict_is_told_as_it_comes(here, capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    assert run("narrow", "--check", "data", "--check", "classes") == 1
    assert capsys.readouterr().err.splitlines() == ["data: ok", "classes: labels out of range"]
    assert run("narrow", "--check", "classes", "--quiet") == 1
    assert capsys.readouterr().err == ""
