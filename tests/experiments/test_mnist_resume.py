"""`python -m experiments.mnist --resume`: the run that was never stopped, whatever stopped it."""

import errno
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from experiments import mnist, results
from experiments.networks import weights_file
from experiments.resume import Terminated
from fnn.diagnostics import report

ROOT = Path(__file__).parents[2]
SMALL = ["--dataset", "digits", "--model", "mlp", "--no-check-gradients", "--epochs", "4"]


def run(out, *arguments):
    return mnist.main([*SMALL, "--out", str(out), *arguments])


def outcome(out):
    """All that a run leaves but times."""
    lines = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    result = json.loads((out / "result.json").read_text())
    for numbers in (*lines, result):
        for name in ("seconds", "training_seconds", "images_per_second"):
            numbers.pop(name, None)
    pictures = {path.name: path.read_bytes() for path in out.glob("*.png")}
    return lines, result, pictures, weights_file(out).read_bytes()


@pytest.fixture(scope="module", autouse=True)
def drawn():
    """The bits that the curves are drawn from, in place of pictures, which take longer than training."""

    def curves(out, record, classifier, page):
        del classifier, page
        numbers = (*record.training, *record.held_out)
        (out / "curves.png").write_bytes(b"".join(np.asarray(part).tobytes() for part in numbers))

    def nothing(*arguments):
        del arguments

    def section(title, *arguments):
        return report.text(title, arguments)

    names = ("mistakes", "mistakes_text", "confusion", "confusion_text", "save")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(results, "draw_training", curves)
        patched.setattr(results, "plots", SimpleNamespace(**dict.fromkeys(names, nothing)))
        patched.setattr(results, "report", SimpleNamespace(picture=section))
        yield


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    out = tmp_path_factory.mktemp("whole")
    assert run(out) == 0
    assert not (out / "checkpoints").exists()
    return outcome(out)


def stop_after(steps, error, monkeypatch):
    """Let `fit` end in an error before the report of so many steps is used."""
    fit = mnist.train.fit

    def breaking(*arguments, **options):
        for each in fit(*arguments, **options):
            if each.steps > steps:
                raise error
            yield each

    monkeypatch.setattr(mnist.train, "fit", breaking)


def shown(out):
    return (out / "report.html").read_text("utf-8")


def steps_in(out):
    return [int(path.name[5:]) for path in sorted((out / "checkpoints").glob("step_*"))]


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (KeyboardInterrupt, 130, "by Ctrl-C after 22 of 44"),
        pytest.param(Terminated, 143, "by SIGTERM after 22", marks=pytest.mark.slow),
    ],
)
def test_goes_on_after_a_signal(error, code, words, whole, tmp_path, monkeypatch, capsys):
    with monkeypatch.context() as patched:
        stop_after(22, error, patched)
        assert run(tmp_path) == code
    printed = capsys.readouterr().out
    assert f"stopped {words}" in printed
    assert f"stopped {words.partition(' after')[0]}; epoch 2 of 4, step 22" in shown(tmp_path)
    assert "the same command with --resume goes on after step 22" in printed
    assert steps_in(tmp_path) == [22]
    assert run(tmp_path, "--resume") == 0
    assert "resumed after step 22, saved 2" in capsys.readouterr().out
    assert "finished; epoch 4 of 4, step 44" in shown(tmp_path)
    assert "The last 4 of 4, the newest first" in shown(tmp_path)
    assert outcome(tmp_path) == whole
    assert steps_in(tmp_path) == [22, 44]
    assert run(tmp_path, "--resume") == 0  # of a run that is at its end
    printed = capsys.readouterr().out
    assert "the run is finished: all 44 steps of its 4 epochs" in printed
    assert "more --epochs and another --out" in printed
    assert "finished; epoch 4 of 4, step 44" in shown(tmp_path)
    assert outcome(tmp_path) == whole


@pytest.mark.slow
def test_steps_after_the_last_checkpoint_are_made_again(whole, tmp_path, monkeypatch, capsys):
    """As after kill -9: the log has more than the checkpoint, and its last line is cut."""
    with monkeypatch.context() as patched:
        stop_after(33, KeyboardInterrupt, patched)
        patched.setattr(
            "experiments.resume.Saves.end", lambda saves, *_, **__: saves._saved.close()
        )
        assert run(tmp_path, "--save-every", "20") == 130
    assert steps_in(tmp_path) == [22]
    with (tmp_path / "log.jsonl").open("a") as log:
        log.write('{"step": 44, "loss"')
    assert run(tmp_path, "--resume", "--save-every", "11") == 0
    assert outcome(tmp_path) == whole
    assert steps_in(tmp_path) == [33, 44]
    (tmp_path / "log.jsonl").unlink()
    assert run(tmp_path, "--resume") == 0
    assert "the log ends at step 0, before the checkpoint" in capsys.readouterr().out


@pytest.mark.slow
def test_without_its_log_a_run_goes_on_and_keeps_its_checkpoint(tmp_path, monkeypatch, capsys):
    for at, given in ((22, ()), (0, ("--resume",)), (33, ("--resume",))):
        with monkeypatch.context() as patched:
            stop_after(at, KeyboardInterrupt, patched)
            assert run(tmp_path, *given) == 130
        assert steps_in(tmp_path)[0] == 22
        (tmp_path / "log.jsonl").unlink()
    assert "the log ends at step 0, before the checkpoint" in capsys.readouterr().out
    assert steps_in(tmp_path) == [22, 33]


def test_other_settings_are_refused_with_what_differs(tmp_path, capsys):
    arguments = ["--epochs", "1", "--save-every", "11"]
    assert run(tmp_path, *arguments) == 0
    capsys.readouterr()
    assert run(tmp_path, *arguments, "--resume", "--rate", "0.5", "--batch-size", "64") == 2
    printed = capsys.readouterr().out
    assert "cannot resume: " in printed
    assert "  batch_size: saved 128, now 64\n  rate: saved 0.001, now 0.5\n" in printed
    assert (tmp_path / "result.json").exists()
    assert run(tmp_path, "--epochs", "1", "--seed", "1", "--overwrite") == 0  # anew
    assert not (tmp_path / "checkpoints").exists()


@pytest.mark.slow
def test_from_the_start_where_nothing_is(tmp_path, capsys):
    assert run(tmp_path, "--epochs", "1", "--resume") == 0
    assert "no checkpoint in" in capsys.readouterr().out
    assert steps_in(tmp_path) == [11]


@pytest.mark.slow
def test_a_full_disk_ends_neither_the_training_nor_the_run(whole, tmp_path, monkeypatch, capsys):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("fnn.train.saving.checkpoints.trees.write", full)
    assert run(tmp_path, "--save-every", "22") == 0
    printed = capsys.readouterr().out
    assert "no checkpoint of step 22: " in printed
    assert "No space left on device" in printed
    assert outcome(tmp_path) == whole


def files(out):
    return {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("there", "given", "words"),
    [
        (["checkpoints/step_7/run.json", "weights.safetensors"], [], "--resume, which goes on"),
        (["weights.safetensors", "log.jsonl"], [], "got the weights.safetensors, log.jsonl of an"),
        (["log.jsonl"], [], "or --overwrite to begin anew"),
        (["weights.safetensors"], ["--resume"], "expected a checkpoint to go on from"),
    ],
)
def test_an_earlier_run_is_never_lost(there, given, words, tmp_path, capsys):
    for name in there:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(f"earlier {name}")
    before = files(tmp_path)
    assert run(tmp_path, *given) == 2
    printed = capsys.readouterr().out
    assert "cannot begin: --out" in printed
    assert words in printed
    assert "images to train" not in printed
    assert files(tmp_path) == before


def test_steps_between_checkpoints_must_be_some(tmp_path, capsys):
    assert run(tmp_path, "--save-every", "0") == 2
    assert "--save-every >= 1, got 0" in capsys.readouterr().out


def command(out, *arguments):
    return [sys.executable, "-m", "experiments.mnist", *SMALL, "--out", str(out), *arguments]


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGKILL, -9), (signal.SIGTERM, 143)])
def test_a_process_that_is_stopped_and_another_that_goes_on(number, code, tmp_path):
    many = ["--save-every", "33", "--epochs", "30"]
    assert run(tmp_path / "whole", *many) == 0
    out = tmp_path / "stopped"
    for _ in range(2):
        process = subprocess.Popen(
            command(out, *many, "--resume"), cwd=ROOT, stdout=subprocess.DEVNULL
        )
        before, deadline = steps_in(out), time.monotonic() + 300
        while steps_in(out) == before and process.poll() is None:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        process.send_signal(number)
        assert process.wait(300) == code
    made = steps_in(out)[-1]
    assert 0 < made < 330
    assert run(out, *many, "--resume") == 0
    assert outcome(out) == outcome(tmp_path / "whole")
