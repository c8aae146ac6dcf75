"""`fnn check`: what it checks, what it writes, and its exit status."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from fnn import check
from fnn.cli import main

SUBJECTS = '''
"""Right and wrong subjects for a command line."""
import jax, jax.numpy as jnp
from fnn import chain, layers, losses, pure

def square(wrong=1.0):
    return pure(f"square({wrong})", lambda p, x: (x * x, x), lambda p, x, dy: (p, wrong * 2 * x * dy))

def net():
    return chain(out=layers.linear(3))

@jax.custom_vjp
def cube(x, scale):
    return scale * x ** 3

cube.defvjp(
    lambda x, s: (s * x ** 3, (x, s)),
    lambda c, dy: (3 * c[1] * c[0] ** 2 * dy, (c[0] ** 3 * dy).sum()),
)

def plain_cube(x, scale):
    return scale * x * x * x

def plain_square(x, scale):
    return scale * x * x

def pair():
    return pure("pair", lambda p, x: (x[0] * x[1], x), lambda p, x, dy: (p, (x[1] * dy, x[0] * dy)))

def raising():
    def forward(p, x):
        raise RuntimeError("no such kernel")
    return pure("raising", forward, lambda p, c, dy: (p, dy))

number = 3.0
'''


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder with subjects in it, as the current one; the path and the modules are put back."""
    (tmp_path / "subjects_for_fnn.py").write_text(SUBJECTS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "subjects_for_fnn", raising=False)
    yield tmp_path
    sys.modules.pop("subjects_for_fnn", None)


def run(name, *options):
    return main(["check", f"subjects_for_fnn:{name}", *options])


@pytest.mark.parametrize(
    ("name", "options", "first"),
    [
        ("square", ["--input", "f32[3,4]"], "square(1.0): ok, "),
        ("pair", ["--input", "f32[3]", "--input", "f32[3]"], "pair: ok, "),
        ("cube", ["--input", "f64[3]", "--input", "f64[]"], ": ok, "),
        (
            "net",
            [
                *("--input", "f32[8,5]", "--target", "i32[8]<3"),
                *("--loss", "fnn.losses:softmax_cross_entropy"),
            ],
            "gradients: ok, ",
        ),
    ],
)
def test_what_is_right_exits_with_0(here, capsys, name, options, first):
    assert run(name, *options) == 0
    out, err = capsys.readouterr()
    assert first in out.splitlines()[0]
    assert err == ""


def test_a_loss_takes_a_target(here, capsys):
    arguments = ["check", "fnn.losses:softmax_cross_entropy", "--input", "f32[8,10]"]
    assert main([*arguments, "--target", "i32[8]<10"]) == 0
    assert "softmax_cross_entropy: ok" in capsys.readouterr().out
    assert main(arguments) == 2
    assert "a loss takes one --input and a --target" in capsys.readouterr().err


def test_what_is_wrong_exits_with_1_and_names_it(here, capsys):
    assert run("square(1.01)", "--input", "f32[3,4]") == 1
    out = capsys.readouterr().out
    assert "square(1.01): WRONG" in out
    assert "x: reverse mode at index" in out


def test_a_function_is_held_against_its_reference(here, capsys):
    inputs = ["--input", "f32[3]", "--input", "f32[]"]
    assert run("cube", *inputs, "--reference", "subjects_for_fnn:plain_cube") == 0
    assert run("cube", *inputs, "--reference", "subjects_for_fnn:plain_square") == 1


def test_reports_are_written_and_quiet_is_quiet(here, capsys):
    arguments = ["--input", "f32[3,4]", "--seed", "7", "--quiet"]
    assert run("square", *arguments, "--json", "r.json", "--html", "r.html") == 0
    assert capsys.readouterr().out == ""
    written = (here / "r.json").read_text()
    assert json.loads(written)["ok"] is True
    assert check.Report.from_json(written).name == "square(1.0)"
    assert (here / "r.html").read_text().startswith("<!doctype html>")
    assert run("square(2.0)", *arguments) == 1
    assert "WRONG" in capsys.readouterr().out


def test_the_seed_decides_what_is_drawn(here):
    def hand(seed):
        run("square", "--input", "f32[3,4]", "--json", "r.json", "--quiet", "--seed", seed)
        return [row.hand for row in check.Report.from_json((here / "r.json").read_text()).rows]

    assert hand("1") == hand("1") != hand("2")


def test_a_saved_array_is_an_input(here, capsys):
    np.save("x.npy", np.full((2, 3), 2.0, np.float32))
    assert run("square", "--input", "x.npy") == 0


def test_a_tolerance_of_ones_own(here, capsys):
    assert run("square(1.000001)", "--input", "f32[3,4]") == 1
    loose = run(
        "square(1.000001)", "--input", "f32[3,4]", "--tolerance", "1e-3", "--json", "r.json"
    )
    rows = check.Report.from_json((here / "r.json").read_text()).rows
    assert {row.tolerance for row in rows if row.method == "reverse mode"} == {1e-3}
    assert loose == 0 or not any(row.method == "reverse mode" and not row.ok for row in rows)


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("square", [], "expected at least one input, such as --input f32[8,16]"),
        ("square", ["--input", "f33[8]"], "expected an array as dtype[shape]"),
        ("sqare", ["--input", "f32[8]"], "has no 'sqare'; close to it: square"),
        ("number", ["--input", "f32[8]"], "expected a Layer, a Loss or a function, got float: 3.0"),
        (
            "square",
            ["--input", "f32[8]", "--reference", "math:sin"],
            "--reference is for functions",
        ),
        ("square", ["--input", "f32[8]", "--as-given"], "--as-given is for functions"),
        ("square", ["--input", "f32[8]", "--target", "f32[8]"], "takes --loss and --target"),
        ("cube", ["--input", "f32[8]", "--target", "f32[8]"], "--target is for losses"),
        ("raising", ["--input", "f32[8]"], "RuntimeError: no such kernel"),
        (
            "square",
            ["--input", "f32[8]", "--target", "f32[8]", "--loss", "math:pi"],
            "expected a Loss under --loss, got float",
        ),
        (
            "square",
            ["--input", "f32[8]", "--json", "no/folder/r.json"],
            "--json no/folder/r.json: no such folder 'no/folder'",
        ),
    ],
)
def test_what_cannot_be_checked_exits_with_2_and_says_why(here, capsys, name, options, said):
    assert run(name, *options) == 2
    out, err = capsys.readouterr()
    assert said in err
    assert err.startswith("fnn check: ")
    assert "Traceback" not in err
    assert out == ""


def test_the_traceback_is_there_for_who_asks(here, capsys):
    assert run("raising", "--input", "f32[8]", "--traceback") == 2
    err = capsys.readouterr().err
    assert "Traceback (most recent call last)" in err
    assert "subjects_for_fnn.py" in err


def test_arguments_that_do_not_parse_exit_with_2(capsys):
    with pytest.raises(SystemExit) as caught:
        main(["check"])
    assert caught.value.code == 2


def test_help_names_what_can_be_given(capsys):
    with pytest.raises(SystemExit) as caught:
        main(["check", "--help"])
    assert caught.value.code == 0
    text = capsys.readouterr().out
    for word in (
        "--input SPEC",
        "--target SPEC",
        "--reference MODULE:NAME",
        "--html FILE",
        "f32[8,16]",
    ):
        assert word in text


def test_a_missing_package_is_named_with_the_command_that_installs_it(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "tyro", None)
    assert main(["check", "x:y"]) == 2
    assert 'pip install "fnn[cli]"' in capsys.readouterr().err


@pytest.mark.parametrize(("wrong", "status"), [("1.0", 0), ("0.5", 1), ("oops", 2)])
def test_the_command_itself(here, wrong, status):
    """In a process of its own, in a folder whose modules are found as `python -m` finds them."""
    program = "import sys; from fnn.cli import main; sys.exit(main())"
    command = [sys.executable, "-c", program, "check", f"subjects_for_fnn:square({wrong})"]
    root = str(Path(check.__path__[0]).parents[1])
    ran = subprocess.run(
        [*command, "--input", "f32[3,4]"],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": root, "JAX_PLATFORMS": "cpu"},
        check=False,
    )
    assert ran.returncode == status, ran.stderr
    assert ("WRONG" in ran.stdout) == (status == 1)
    assert bool(ran.stderr) == (status == 2)
