"""The main job as a person runs it: `python -m experiments.mnist`, on the smallest data."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest

from experiments import mnist, networks
from experiments.networks import weights_file
from fnn import chain, data, layers, train
from fnn.train import read_metadata

ROOT = Path(__file__).parents[2]
SMALL = ["--dataset", "digits", "--model", "mlp", "--no-check-gradients"]


def command(*arguments):
    return [sys.executable, "-m", "experiments.mnist", *map(str, arguments)]


def lines_of(run):
    return [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A whole run of two epochs as a process of its own: (its folder, the process)."""
    out = tmp_path_factory.mktemp("run")
    done = subprocess.run(
        command("--dataset", "digits", "--model", "mlp", "--epochs", 2, "--out", out),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return out, done


class TestAWholeRun:
    def test_shows_all_its_parts_in_order(self, finished):
        _, done = finished
        places = [
            done.stdout.find(words)
            for words in (
                "1,437 images to train, 360 to test",
                "301,066",  # parameters of the model
                "gradients: ok",
                "(whole)",
                "epoch  1/2",
                "epoch  2/2",
                "s of training",
                "test accuracy",
                "true \\ predicted",
                "experiments.classify",
            )
        ]
        assert -1 not in places
        assert places == sorted(places)

    def test_is_readable_in_a_file(self, finished):
        _, done = finished
        assert "\x1b" not in done.stdout
        assert "\r" not in done.stdout
        assert len(done.stdout.splitlines()) < 80
        assert done.stderr == ""

    def test_learned(self, finished):
        out, _ = finished
        result = json.loads((out / "result.json").read_text())
        assert result["finished"]
        assert result["steps"] == 2 * (1437 // 128)
        assert result["test_accuracy"] > 0.85
        assert result["training_seconds"] > 0

    def test_leaves_everything(self, finished):
        out, _ = finished
        assert {path.name for path in out.iterdir()} == {
            "weights.safetensors", "log.jsonl", "config.json", "result.json",
            "curves.png", "filters.png", "mistakes.png", "confusion.png", "report.html",
        }  # fmt: skip
        for picture in out.glob("*.png"):
            assert picture.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
        config = json.loads((out / "config.json").read_text())
        assert (config["model"], config["epochs"], config["rate"]) == ("mlp", 2, 0.001)
        assert config["versions"]["jax"] == jax.__version__

    def test_log_has_a_line_a_call(self, finished):
        out, _ = finished
        lines = lines_of(out)
        assert [line["step"] for line in lines] == [11, 22]
        assert lines[-1]["loss"] < lines[0]["loss"]
        assert all(line["test_accuracy"] > 0 for line in lines)
        assert all(np.isfinite(line["gradient_norm"]) for line in lines)

    def test_weights_are_enough_to_repeat_the_test(self, finished):
        out, _ = finished
        classifier = networks.load(weights_file(out))
        images, labels = data.load("digits").test
        probabilities = classifier.probabilities(images)
        np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=0, atol=1e-5)
        right = float((probabilities.argmax(axis=1) == labels).mean())
        assert right == pytest.approx(
            json.loads((out / "result.json").read_text())["test_accuracy"]
        )
        assert classifier.classes == tuple("0123456789")
        assert read_metadata(weights_file(out))["dataset"] == "digits"

    def test_the_same_seed_gives_the_same_bytes(self, finished, tmp_path):
        out, _ = finished
        for seed, folder in ((0, "same"), (1, "other")):
            arguments = [*SMALL, "--epochs", "2", "--seed", str(seed)]
            assert mnist.main([*arguments, "--out", str(tmp_path / folder)]) == 0
        first = weights_file(out).read_bytes()
        assert weights_file(tmp_path / "same").read_bytes() == first
        assert weights_file(tmp_path / "other").read_bytes() != first


def test_both_derivations_agree(tmp_path, capsys):
    out = tmp_path / "run"
    assert mnist.main([*SMALL, "--epochs", "1", "--gradient", "both", "--out", str(out)]) == 0
    distance = json.loads((out / "result.json").read_text())["largest_gradient_distance"]
    assert 0 <= distance < 1e-5
    assert f"over all steps and parameters: {distance:.1e}" in capsys.readouterr().out
    assert max(line["gradient_distance"] for line in lines_of(out)) == distance


def test_ctrl_c_saves_what_was_learned(tmp_path):
    out = tmp_path / "run"
    process = subprocess.Popen(
        command(*SMALL, "--epochs", 100_000, "--out", out),
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        log, deadline = out / "log.jsonl", time.monotonic() + 300
        while not (log.exists() and log.stat().st_size):
            assert process.poll() is None, process.stderr.read()
            assert time.monotonic() < deadline
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        stdout, stderr = process.communicate(timeout=300)
    finally:
        process.kill()
    assert process.returncode == 130
    assert "stopped by Ctrl-C after" in stdout
    assert "Traceback" not in stdout + stderr
    result = json.loads((out / "result.json").read_text())
    assert not result["finished"]
    assert result["steps"] == lines_of(out)[-1]["step"]
    assert networks.load(weights_file(out)).dataset == "digits"
    assert (out / "curves.png").exists()
    assert not (out / "mistakes.png").exists()


def test_ctrl_c_while_it_compiles_ends_in_words(tmp_path):
    """Not in a crash of the compiler's threads at the interpreter's end."""
    process = subprocess.Popen(
        command("--no-check-gradients", "--out", tmp_path / "run"),
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        for line in process.stdout:
            if line.startswith("training"):
                break
        # The first call compiles for longer than this, and then trains for an epoch.
        time.sleep(1.5)
        process.send_signal(signal.SIGINT)
        stdout, stderr = process.communicate(timeout=300)
    finally:
        process.kill()
    assert process.returncode == 130
    assert "stopped by Ctrl-C after 0 of" in stdout
    assert "Traceback" not in stdout + stderr
    assert not (tmp_path / "run").exists()


def test_after_ctrl_c_the_process_ends_at_once_with_all_that_it_said():
    """The crash at the interpreter's end comes at some moments of a compilation; this at each."""
    program = """
import atexit, os
from experiments import mnist
atexit.register(os.abort)
print("said", end="")
mnist.leave(130)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=300
    )
    assert (done.returncode, done.stdout) == (130, "said"), done.stderr


def interrupted(*_, **__):
    raise KeyboardInterrupt


def not_finite_at_once(net, loss, optimizer, state, *_, **__):
    raise train.NonFiniteError("nothing is finite", state)


@pytest.mark.parametrize(("fit", "code"), [(interrupted, 130), (not_finite_at_once, 1)])
def test_a_run_that_learned_nothing_leaves_what_was_there(fit, code, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(mnist.train, "fit", fit)
    earlier = {"weights.safetensors", "log.jsonl", "config.json", "result.json", "curves.png"}
    for name in earlier:
        (tmp_path / name).write_text("earlier")
    assert mnist.main([*SMALL, "--out", str(tmp_path), "--overwrite"]) == code
    assert "nothing was learned yet" in capsys.readouterr().out
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == dict.fromkeys(
        earlier, "earlier"
    )


def test_numbers_that_are_not_finite_stop_the_training(tmp_path, capsys):
    out = tmp_path / "run"
    assert mnist.main([*SMALL, "--epochs", "2", "--rate", "1e38", "--out", str(out)]) == 1
    printed = capsys.readouterr().out
    assert "First not finite" in printed
    classifier = networks.load(weights_file(out))
    for leaf in jax.tree.leaves(classifier.params):
        assert np.isfinite(leaf).all()
    assert json.loads((out / "result.json").read_text())["finished"] is False


def test_a_wrong_gradient_stops_before_the_training(tmp_path, monkeypatch, capsys):
    healthy = layers.relu()

    def backward(params, cache, dy):
        dparams, dx = healthy.backward(params, cache, dy)
        return dparams, 1.001 * dx

    faulty = healthy._replace(backward=backward)
    recipe = networks.RECIPES["mlp"]
    net = chain(
        flatten=layers.flatten(), hidden=layers.linear(6), act=faulty, out=layers.linear(10)
    )
    monkeypatch.setitem(networks.RECIPES, "mlp", recipe._replace(build=lambda classes: net))
    arguments = ["--dataset", "digits", "--model", "mlp", "--out", str(tmp_path / "run")]
    assert mnist.main(arguments) == 1
    printed = capsys.readouterr().out
    assert "a gradient is wrong" in printed
    assert "act  " in printed
    assert "WRONG" in printed
    assert not (tmp_path / "run").exists()


def test_help_says_what_it_does_and_no_numbers_of_one_machine(capsys):
    with pytest.raises(SystemExit, match="0"):
        mnist.main(["--help"])
    printed = capsys.readouterr().out
    assert "every gradient written by hand" in printed
    assert "Xeon" not in printed
    assert "98." not in printed


def test_the_environment_names_the_data_folder(monkeypatch, capsys):
    monkeypatch.setitem(os.environ, "FNN_DATA_DIR", "named-by-the-environment")
    assert mnist.main(["--dataset", "fashion-mnist"]) == 2
    assert "named-by-the-environment" in capsys.readouterr().out


def test_a_second_run_takes_away_the_pictures_of_the_first(tmp_path, monkeypatch):
    out = tmp_path / "run"
    out.mkdir()
    for name in ("mistakes.png", "curves.png", "result.json", "log.jsonl", "report.html"):
        (out / name).write_text("old")

    def one_step_and_then_not_finite(net, loss, optimizer, state, *_, **__):
        raise train.NonFiniteError("no longer finite", state._replace(step=state.step + 1))
        yield

    monkeypatch.setattr(mnist.train, "fit", one_step_and_then_not_finite)
    assert mnist.main([*SMALL, "--out", str(out), "--overwrite"]) == 1
    left = {path.name for path in out.iterdir()}
    assert left == {"weights.safetensors", "config.json", "result.json", "report.html"}
    page = (out / "report.html").read_text("utf-8")
    assert "stopped by no longer finite; no report yet" in page
    assert not json.loads((out / "result.json").read_text())["finished"]
