"""A page that is written while a run goes on: what it says, when it is written, and that it is whole."""

import re
import time

import numpy as np
import pytest
from html_pages import Page
from pages import CONFIG, HOSTILE, fitted

from fnn import logs
from fnn.diagnostics import report


def status(path):
    page = Page(path.read_text("utf-8"))
    return next(text for text in page.of("p") if text.startswith(("no", "epoch", "fin", "stop")))


@pytest.fixture
def clock(monkeypatch):
    """Seconds that pass only when told."""
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])

    def wait(seconds):
        now[0] += seconds

    return wait


def test_from_the_first_to_the_last_report(tmp_path, clock):
    path = tmp_path / "deep" / "run" / "report.html"
    with report.live(path, config=CONFIG, epochs=2) as page:
        assert status(path) == "no report yet"
        clock(9)
        page(fitted(3))
        assert status(path) == "epoch 0.5 of 2, step 3, loss 0.5"
        assert 'http-equiv="refresh"' in path.read_text("utf-8")
        page(fitted(6, evaluated=0.25))  # too soon after the last writing
        assert "step 3" in status(path)
        clock(4.9)
        page.add(report.text("Note", "a note"))
        assert "step 3" in status(path)
        clock(0.2)
        page.add(report.text("Note", "another note"))
        assert "step 6" in status(path)
    text = path.read_text("utf-8")
    assert status(path) == "finished; epoch 1 of 2, step 6, loss 0.25"
    assert 'http-equiv="refresh"' not in text
    assert "a note<" not in text
    shown = Page(text)
    assert shown.of("h1") == ["run"]
    assert shown.of("h2") == ["Curves", "Reports", "Note", "Configuration", "Versions and machine"]
    assert shown.of("h3") == ["loss", "accuracy", "gradient norm"]
    assert {"another note"} <= set(shown.of("pre"))
    assert [file.name for file in path.parent.iterdir()] == ["report.html"]


def test_the_charts_share_their_axis_of_steps(tmp_path):
    with report.live(tmp_path / "a.html") as page:
        for step in (30, 60, 90):
            page(fitted(step, steps=30, evaluated=1 / step if step == 90 else None))
    charts = (tmp_path / "a.html").read_text("utf-8").split("<h3>")[1:4]
    ticks = [re.findall(r'<text x="([^"]*)" y="188"[^>]*>([^<]*)<', each) for each in charts]
    assert ticks[0] == ticks[1] == ticks[2]
    assert [step for _, step in ticks[0]] == ["20", "40", "60", "80"]


def test_configuration_and_versions(tmp_path):
    with report.live(tmp_path / "a.html", config=CONFIG):
        pass
    shown = Page((tmp_path / "a.html").read_text("utf-8"))
    found = dict(zip(shown.of("dt"), shown.of("dd"), strict=True))
    assert found["rate"] == "0.001"
    assert found["nested.hidden"] == "32"
    assert found["nested.seeds"] == "[0, 1]"
    assert found["nested.name"] == HOSTILE
    assert found["nested.warmup"] == "null"
    assert found["numpy"] == np.__version__
    assert found["backend"] == "cpu"


def test_the_numbers_of_the_reports(tmp_path):
    path = tmp_path / "a.html"
    with report.live(path) as page:
        for i in range(1, 21):
            page(fitted(3 * i, evaluated=i / 100 if i % 2 == 0 else None))
    text = path.read_text("utf-8")
    shown = Page(text)
    assert "The last 12 of 20, the newest first" in shown.of("caption")
    rows = re.search(r"<table>.*?</table>", text, re.S).group(0)
    table = Page(rows)
    assert table.of("th")[-12:] == [str(3 * i) for i in range(20, 8, -1)]
    head = table.of("th")[:-12]
    assert head[:4] == ["step", "epoch", "loss", "accuracy"]
    assert head[4:7] == ["validation loss", "validation accuracy", "gradient norm"]
    first = dict(zip(head, ["60", *table.of("td")[: len(head) - 1]], strict=True))
    assert first["loss"] == "0.025"
    assert first["validation loss"] == "0.2"
    assert first["validation accuracy"] == "0.875"
    twin = next(text for text in shown.of("pre") if "validation" in text)
    validation = next(line for line in twin.splitlines() if line.startswith("validation")).split()
    assert validation[1:4] == ["0.02", "0.02", "0.2"]


@pytest.mark.parametrize("error", [RuntimeError(HOSTILE), KeyboardInterrupt()])
def test_what_stops_a_run_is_said_and_comes_out(error, tmp_path):
    path = tmp_path / "a.html"

    def run():
        with report.live(path) as page:
            page(fitted(3, loss=[1.0, np.nan, np.inf]))
            raise error

    with pytest.raises(type(error)):
        run()
    said = HOSTILE if str(error) else "KeyboardInterrupt"
    assert said in status(path)
    assert "epoch 0.5, step 3, loss nan" in status(path)
    assert 'http-equiv="refresh"' not in path.read_text("utf-8")


def test_a_run_that_goes_on_shows_what_was_before(tmp_path):
    log = tmp_path / "a.jsonl"
    with logs.jsonl(log) as write:
        for step in (3, 6, 9):
            write(fitted(step))
    path = tmp_path / "a.html"
    writers = report.live(path, earlier=logs.read(log)), logs.jsonl(log)
    with logs.tee(*writers) as write:
        assert status(path) == "epoch 1.5, step 9, loss 0.1667"
        for step in (9, 12):  # from step 6
            write(fitted(step, loss=[9.0] * 3))
    rows = re.search(r"<table>.*?</table>", path.read_text("utf-8"), re.S).group(0)
    assert Page(rows).of("th")[-4:] == ["12", "9", "6", "3"]
    assert [entry["step"] for entry in logs.read(log)] == [3, 6, 9, 12]


def test_who_reads_sees_a_whole_page_at_any_time(tmp_path, monkeypatch):
    path = tmp_path / "a.html"
    page = report.live(path, every=1e-9)
    page.write()
    whole = path.read_bytes()
    seen = []
    replace = type(path).replace

    def watched(self, target):
        seen.append(path.read_bytes())
        return replace(self, target)

    monkeypatch.setattr(type(path), "replace", watched)
    page(fitted(3))
    assert seen == [whole]  # until the very last moment
    assert path.read_bytes() != whole
    assert path.read_bytes().endswith(b"</html>\n")


def test_titles_of_its_own(tmp_path):
    page = report.live(tmp_path / "a.html")
    with pytest.raises(ValueError, match="a title other than Curves"):
        page.add(report.text("Curves", "mine"))


def test_refusals(tmp_path):
    with pytest.raises(IsADirectoryError, match="a file for the page, got the folder"):
        report.live(tmp_path)
    with pytest.raises(ValueError, match="every in seconds above 0"):
        report.live(tmp_path / "a.html", every=0)
    with pytest.raises(ValueError, match="at least one epoch, got 0"):
        report.live(tmp_path / "a.html", epochs=0)
