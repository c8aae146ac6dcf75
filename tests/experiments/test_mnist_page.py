"""The page of the main job: what it shows while it trains and at its end, and the events beside it."""

import re

import pytest
from html_pages import Page

from experiments import mnist
from experiments.run_page import RunPage

SMALL = ["--dataset", "digits", "--model", "mlp", "--no-check-gradients"]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """(The folder of a run, the page after its first report, that after its first epoch)."""
    out = tmp_path_factory.mktemp("runs") / "mine"
    seen = []
    follow = RunPage.follow

    def watched(self, each, record):
        assert (out / "report.html").exists() == bool(seen)
        follow(self, each, record)
        seen.append((out / "report.html").read_text("utf-8"))

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(RunPage, "follow", watched)
        arguments = [*SMALL, "--epochs", "2", "--batch-size", "64", "--health", "--tensorboard"]
        assert mnist.main([*arguments, "--out", str(out)]) == 0
    return out, seen[0], seen[len(seen) // 2 - 1]


def test_it_is_there_from_the_first_report_on(run):
    _, first, epoch = run
    page = Page(first)
    assert page.of("p")[0].startswith("epoch 0.")
    assert 'http-equiv="refresh"' in first
    assert page.of("h2") == [
        *("Curves", "Reports", "Result", "Layers", "Configuration", "Versions and machine")
    ]
    page = Page(epoch)
    assert "epoch 1 of 2, step 22," in page.of("p")[0]
    assert page.of("h2")[2:5] == ["Result", "Layers", "Health"]
    assert re.fullmatch(r"\d\d\.\d\d%", page.of("dd")[0])
    assert "loss" in next(text for text in page.of("caption") if "on 128 examples" in text)


def test_at_the_end_it_has_all_and_stays(run):
    out, _, _ = run
    text = (out / "report.html").read_text("utf-8")
    page = Page(text)
    assert page.of("title") == ["mine: mlp on digits: finished"]
    assert 'http-equiv="refresh"' not in text
    assert page.of("h2") == [
        *("Curves", "Reports", "Result", "Layers", "Health", "Filters", "Worst mistakes"),
        *("Confusion", "Configuration", "Versions and machine"),
    ]
    assert len(re.findall('<img src="data:image/png', text)) == 3
    asked = dict(zip(page.of("dt"), page.of("dd"), strict=True))
    assert asked["test accuracy"].endswith("%")
    assert asked["steps"] == "44 of 44"
    assert (asked["model"], asked["epochs"], asked["rate"]) == ("mlp", "2", "0.001")


def test_what_ends_the_run_after_the_training_ends_the_page(tmp_path, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(mnist.results, "draw_training", interrupted)
    arguments = ["--epochs", "1", "--batch-size", "718", "--out", str(tmp_path)]
    assert mnist.main([*SMALL, *arguments]) == 130
    text = (tmp_path / "report.html").read_text("utf-8")
    assert Page(text).of("p")[0].startswith("stopped by KeyboardInterrupt; epoch 1 of 1")
    assert 'http-equiv="refresh"' not in text


def test_event_files_lie_beside_it(run):
    out, _, _ = run
    (file,) = (out / "events").iterdir()
    assert file.name.startswith("events.out.tfevents")
    assert b"evaluation/metrics/accuracy" in file.read_bytes()
