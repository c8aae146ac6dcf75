"""Where a run goes when nobody says where: to the first default folder without a run in it."""

from pathlib import Path

import pytest

from experiments import folder
from experiments.networks import weights_file


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def a_run(out, *, saved=False):
    out.mkdir(parents=True)
    if saved:
        (out / folder.CHECKPOINTS / "step_10").mkdir(parents=True)
    else:
        weights_file(out).write_bytes(b"learned")


def chosen(out=None, *, resume=False, overwrite=False):
    return folder.chosen(out, resume=resume, overwrite=overwrite)


@pytest.mark.parametrize("saved", [False, True])
def test_the_default_moves_on_past_runs(here, saved):
    assert chosen() == chosen(resume=True) == Path("runs/mnist")
    a_run(Path("runs/mnist"), saved=saved)
    assert chosen() == Path("runs/mnist-2")
    assert chosen(resume=True) == Path("runs/mnist")
    a_run(Path("runs/mnist-2"), saved=saved)
    assert chosen() == Path("runs/mnist-3")
    assert chosen(resume=True) == Path("runs/mnist-2")
    assert chosen(overwrite=True) == Path("runs/mnist")
    folder.check_free(chosen(), resume=False, overwrite=False)


def test_the_default_goes_on_with_the_last_run_that_can(here):
    a_run(Path("runs/mnist"), saved=True)
    a_run(Path("runs/mnist-2"), saved=True)
    a_run(Path("runs/mnist-3"))  # finished
    assert chosen(resume=True) == Path("runs/mnist-2")
    assert chosen(folder.DEFAULT, resume=True) == Path("runs/mnist")  # named, and so taken
    with pytest.raises(ValueError, match="--out runs/mnist: expected a folder without a run in it"):
        folder.check_free(chosen(folder.DEFAULT), resume=False, overwrite=False)


def test_a_folder_that_was_named_is_taken_or_refused(here):
    a_run(Path("mine"))
    assert chosen(Path("mine")) == Path("mine")
    with pytest.raises(ValueError, match="--out mine: expected a folder without a run in it"):
        folder.check_free(Path("mine"), resume=False, overwrite=False)
