"""The bar, and several loggers as one."""

import io

import pytest
from logged import evaluation, report

from fnn import logs


def test_shows_where_the_run_is():
    rich = pytest.importorskip("rich.console")
    out = io.StringIO()
    console = rich.Console(file=out, width=160, force_terminal=True, color_system=None)
    with logs.progress(3, console=console) as log:
        log(report(3))
        log(report(6, evaluation=evaluation(), scale=[4] * 3, finite=[True, False, True]))
        assert log._bar.tasks[0].completed == 6
        assert log._bar.tasks[0].total == 18
    text = out.getvalue()
    assert "epoch 0.5/3" in text
    assert "validation: loss 0.7  accuracy 0.875" in text
    assert "6/18 steps" in text
    assert "96 examples/s  skipped 1" in text


def test_a_run_that_goes_on_begins_where_it_was():
    rich = pytest.importorskip("rich.console")
    with logs.progress(3, console=rich.Console(file=io.StringIO())) as log:
        log(report(9))
        assert log._bar.tasks[0].completed == 9
        assert log._bar.tasks[0].total == 18


def test_no_epoch():
    with pytest.raises(ValueError, match="at least one epoch, got 0"):
        logs.progress(0)


class Noted:
    """A logger that notes what happens to it."""

    def __init__(self, notes, name, broken=None):
        self.notes, self.name, self.broken = notes, name, broken

    def note(self, what):
        self.notes.append((self.name, what))
        if what == self.broken:
            raise OSError(self.name)

    def __call__(self, report):
        self.note(report.steps)

    def __enter__(self):
        self.note("in")
        return self

    def __exit__(self, *error):
        self.note("out")


def test_all_are_given_every_report(tmp_path):
    notes = []
    with logs.tee(
        Noted(notes, "a"), lambda report: notes.append(report.steps), Noted(notes, "b")
    ) as log:
        log(report(3))
    assert notes == [("a", "in"), ("b", "in"), ("a", 3), 3, ("b", 3), ("b", "out"), ("a", "out")]


@pytest.mark.parametrize(
    ("broken", "expected"),
    [
        ("in", [("a", "in"), ("b", "in"), ("a", "out")]),
        (3, [("a", "in"), ("b", "in"), ("a", 3), ("b", 3), ("b", "out"), ("a", "out")]),
    ],
)
def test_what_one_raises_comes_out_and_all_are_left(broken, expected):
    notes = []
    loggers = Noted(notes, "a"), Noted(notes, "b", broken)
    with pytest.raises(OSError, match="b"), logs.tee(*loggers) as log:
        log(report(3))
    assert notes == expected


def test_what_is_no_logger():
    with pytest.raises(TypeError, match="callables on a report, got 3"):
        logs.tee(3)
