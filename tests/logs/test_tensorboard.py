"""Event files, read back by TensorBoard itself."""

import logging

import numpy as np
import pytest
from logged import evaluation, report

from fnn import logs


@pytest.fixture
def read_back(tmp_path):
    module = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")

    def read():
        events = module.EventAccumulator(
            str(tmp_path), size_guidance={"scalars": 0, "histograms": 0}
        )
        logger = logging.getLogger("tensorboard")
        logger.setLevel(logging.ERROR)  # that it drops what came again, it says as a warning
        events.Reload()
        return events

    return read


def test_scalars_and_histograms(tmp_path, read_back):
    with logs.tensorboard(tmp_path, each_step=True, histograms=True) as log:
        log(report(3))
        log(report(6, evaluation=evaluation()))
    events = read_back()
    assert [(e.step, e.value) for e in events.Scalars("loss")] == [(3, 0.75), (6, 0.75)]
    assert [(e.step, e.value) for e in events.Scalars("evaluation/metrics/accuracy")] == [
        (6, 0.875)
    ]
    assert np.isnan(events.Scalars("evaluation/reductions/error")[0].value)
    assert [(e.step, e.value) for e in events.Scalars("steps/loss")] == [
        (1, 1.0), (2, 0.75), (3, 0.5), (4, 1.0), (5, 0.75), (6, 0.5),
    ]  # fmt: skip
    first, second = events.Histograms("params/hidden/w")
    assert (first.step, second.step) == (3, 6)
    assert (first.histogram_value.max, second.histogram_value.max) == (15, 30)
    assert second.histogram_value.num == 6


def test_a_run_that_goes_on_shows_each_step_once(tmp_path, read_back):
    with logs.tensorboard(tmp_path) as log:
        for step in (3, 6, 9):
            log(report(step))
    with logs.tensorboard(tmp_path) as log:
        for step in (6, 9, 12):
            log(report(step, loss=[2.0] * 3))
    found = [(e.step, e.value) for e in read_back().Scalars("loss")]
    assert found == [(3, 0.75), (6, 2.0), (9, 2.0), (12, 2.0)]


def test_parameters_that_are_not_finite(tmp_path, read_back):
    now = report(3)
    broken = {
        "w": now.params["hidden"]["w"].at[0].set(np.nan),
        "b": now.params["logits"]["b"] * np.inf,
    }
    with logs.tensorboard(tmp_path, histograms=True) as log:
        log(now._replace(params=broken))
    events = read_back()
    assert events.Tags()["histograms"] == ["params/w"]
    assert events.Histograms("params/w")[0].histogram_value.num == 3


def test_a_file(tmp_path):
    (tmp_path / "events").touch()
    with pytest.raises(NotADirectoryError, match="a folder for event files"):
        logs.tensorboard(tmp_path / "events")
