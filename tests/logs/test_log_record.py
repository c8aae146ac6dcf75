"""A report in plain numbers."""

import numpy as np
from logged import evaluation, report

from fnn.logs.record import record, scalars


def test_means_over_the_steps():
    found = record(report(evaluation=evaluation()))
    assert np.isnan(found["evaluation"]["reductions"].pop("error"))
    assert found == {
        "step": 6,
        "epoch": 1.0,
        "loss": 0.75,
        "metrics": {"accuracy": 0.25},
        "gradient_norm": 1.0,
        "seconds": 0.5,
        "examples_per_second": 96.0,
        "evaluation": {
            "loss": float(np.float32(0.7)),
            "metrics": {"accuracy": 0.875},
            "reductions": {"confusion": {"counts": [[1, 0], [0, 1]], "left_out": 0}},
        },
    }


def test_batches_that_were_skipped_do_not_count():
    now = report(loss=[1.0, np.nan, 2.0], scale=[8, 8, 4], finite=[True, False, True])
    found = record(now)
    assert (found["loss"], found["scale"], found["skipped"]) == (1.5, 4.0, 1)
    assert np.isnan(record(now._replace(info=now.info._replace(finite=np.zeros(3, bool))))["loss"])


def test_the_distance_of_two_gradients():
    assert record(report(distance=np.asarray([0.0, 1e-6, 2e-6])))["distance"] == 1e-6


def test_scalars_by_path():
    found = scalars(record(report(evaluation=evaluation())))
    assert found["evaluation/metrics/accuracy"] == 0.875
    assert found["evaluation/reductions/confusion/left_out"] == 0
    assert "evaluation/reductions/confusion/counts" not in found
