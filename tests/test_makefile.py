"""The Makefile's set-up: what it does with a `.venv` that is absent, broken or whole.

Python itself is played by small scripts that write down how they were called.
"""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="there is no make")

WHOLE = 'echo "$@" >> calls'
BROKEN = 'echo "No module named pip" >&2; exit 1'


def maker(modules):
    """A python whose only modules are `modules`, each of which makes environments."""
    return f"""
case "$2" in {"|".join(modules) or "none"}) ;; *) echo "No module named $2" >&2; exit 1 ;; esac
echo "made by $2" >> calls
rm -rf .venv; mkdir -p .venv/bin; cp whole .venv/bin/python"""


@pytest.fixture
def checkout(tmp_path):
    """`checkout(python, venv)`: a folder with the Makefile, a python and a `.venv` or none."""

    def script(path, body):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"#!/bin/sh\n{body}\n")
        path.chmod(0o755)

    def make(python, venv=None):
        for name in ("Makefile", "pyproject.toml"):
            shutil.copy(ROOT / name, tmp_path)
        script(tmp_path / "whole", WHOLE)
        script(tmp_path / "python", python)
        if venv is not None:
            script(tmp_path / ".venv" / "bin" / "python", venv)
        return tmp_path

    return make


def run(folder, *arguments):
    # `make test` hands its level and flags on, and a make inside a make says so in its first line.
    outer = {
        name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "ARGS"))
    }
    return subprocess.run(
        ["make", "PYTHON=./python", *arguments],
        cwd=folder,
        env=outer,
        capture_output=True,
        text=True,
        timeout=60,
    )


def calls(folder):
    return (folder / "calls").read_text().splitlines()


def test_a_venv_that_is_whole_is_kept_and_filled_once(checkout):
    folder = checkout(maker([]), venv=WHOLE)
    first, second = run(folder, "classify"), run(folder, "classify")
    assert (first.returncode, second.returncode) == (0, 0)
    install, *rest = [call for call in calls(folder) if "pip --version" not in call]
    assert install.startswith("-m pip install")
    assert ".[experiments]" in install
    assert rest == ["-m experiments.classify "] * 2 or rest == ["-m experiments.classify"] * 2
    # pip says nothing for minutes, so make does.
    assert first.stdout.splitlines()[0].startswith("Installing")
    assert "Installing" not in second.stdout


@pytest.mark.parametrize("venv", [None, BROKEN], ids=["absent", "without pip"])
@pytest.mark.parametrize(
    ("modules", "made"), [(["venv", "virtualenv"], "venv"), (["virtualenv"], "virtualenv")]
)
def test_a_venv_that_is_absent_or_broken_is_made(modules, made, venv, checkout):
    folder = checkout(maker(modules), venv)
    done = run(folder, "mnist")
    assert done.returncode == 0, done.stderr
    first, *rest = calls(folder)
    assert first == f"made by {made}"
    assert rest[-1].startswith("-m experiments.mnist")


def test_pip_is_added_to_a_venv_without_it(checkout):
    """Such as `uv venv` makes, with packages that someone wants to keep."""
    body = 'case "$*" in *ensurepip*) cp whole .venv/bin/python ;; *) exit 1 ;; esac'
    folder = checkout(maker(["venv"]), venv=body)
    assert run(folder, "mnist").returncode == 0
    assert not any("made by" in call for call in calls(folder))


def test_without_a_way_to_make_one_it_says_what_to_install(checkout):
    folder = checkout(maker([]))
    done = run(folder, "mnist")
    assert done.returncode != 0
    assert "python3-venv" in done.stderr
    assert "PYTHON=" in done.stderr


def test_clean_keeps_what_was_trained(checkout):
    folder = checkout(maker([]), venv=WHOLE)
    weights = folder / "runs" / "mnist" / "weights.safetensors"
    weights.parent.mkdir(parents=True)
    weights.touch()
    assert run(folder, "clean").returncode == 0
    assert weights.exists()
    assert not (folder / ".venv").exists()
