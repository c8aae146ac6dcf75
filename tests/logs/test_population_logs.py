"""The reports of a population, to the loggers that take those of a run."""

import io
import json
import re

import jax
import numpy as np
import pytest
from rich.console import Console

from fnn import chain, layers, logs, losses, optimizers, train
from fnn.diagnostics import report as report_page
from fnn.logs.record import record, scalars, summarized
from fnn.train import population

MEMBERS, EPOCHS = 3, 2


@pytest.fixture(scope="module")
def reports():
    """Of two epochs of three steps; the last member's rate is too high for it."""
    net = chain(logits=layers.linear(3))
    x = jax.random.normal(jax.random.key(0), (24, 4))
    labels = jax.numpy.arange(24) % 3
    optimizer = optimizers.sgd(0.1)
    keys = jax.random.split(jax.random.key(1), MEMBERS)
    members = population.init(
        net, optimizer, keys, x[:8], hyperparameters={"rate": [0.1, 0.2, 1e38]}
    )
    return list(
        population.fit(
            net,
            losses.softmax_cross_entropy(),
            optimizer,
            members,
            (x, labels),
            epochs=EPOCHS,
            batch_size=8,
            validation=(x, labels),
            metrics={"accuracy": train.accuracy},
        )
    )


def test_record_has_a_list_over_the_members(reports):
    report = reports[-1]
    found = record(report)
    assert (found["step"], found["epoch"], found["members"]) == (6, 2.0, MEMBERS)
    assert found["running"] == [True, True, False] == report.running.tolist()
    assert found["examples_per_second"] == pytest.approx(MEMBERS * 24 / report.seconds)
    for i in (0, 1):
        assert found["loss"][i] == pytest.approx(np.mean(report.info.loss[i], dtype=np.float64))
        accuracy = np.mean(report.info.metrics["accuracy"][i], dtype=np.float64)
        assert found["metrics"]["accuracy"][i] == pytest.approx(accuracy)
    assert np.isnan(found["loss"][2])  # no step of it was made
    np.testing.assert_array_equal(found["evaluation"]["loss"], report.evaluation.loss)


class Large:
    """Predictions, which no line of a log is worth copying."""

    def __array__(self, *_, **__):
        raise AssertionError


def test_predictions_stay_on_the_device(reports):
    report = reports[-1]
    held = report._replace(evaluation=report.evaluation._replace(prediction=Large()))
    np.testing.assert_equal(record(held), record(report))


def test_skipped_steps_are_shown_where_there_are_any(reports):
    def shown(made):
        screen = io.StringIO()
        info = reports[-1].info
        scaled = info._replace(scale=np.ones((MEMBERS, 3)), finite=np.array(made))
        with logs.progress(EPOCHS, console=Console(file=screen, width=200)) as log:
            log(reports[-1]._replace(info=scaled))
        return screen.getvalue()

    assert "skipped" not in shown([[True] * 3] * MEMBERS)
    assert "skipped up to 3" in shown([[True] * 3] * (MEMBERS - 1) + [[False] * 3])


def test_the_best_member_stands_first_and_is_not_cut_at_80_columns(reports):
    screen = io.StringIO()
    console = Console(file=screen, width=80, force_terminal=True, color_system=None)
    with logs.progress(EPOCHS, console=console) as log:
        log(reports[-1])
    found = record(reports[-1])
    best = int(np.nanargmin(found["loss"]))
    accuracy = found["metrics"]["accuracy"]
    bar = f"best {best}: loss {found['loss'][best]:.4g}  accuracy {accuracy[best]:.4g}"
    shown = [line for line in re.split("[\r\n]", screen.getvalue()) if "epoch" in line]
    assert bar in shown[-1]
    evaluation = found["evaluation"]
    losses_, accuracy = np.array(evaluation["loss"]), evaluation["metrics"]["accuracy"]
    best = int(np.nanargmin(losses_))
    (line,) = [line for line in shown if "validation" in line]
    assert line.removeprefix("\x1b[2K") == (
        f"epoch 2/2  best member {best}: validation loss {losses_[best]:.4g}  "
        f"accuracy {accuracy[best]:.4g}; worst {losses_[np.isfinite(losses_)].max():.4g}"
    )


def test_where_no_loss_is_finite(reports):
    screen = io.StringIO()
    info = reports[-1].info
    nothing = info._replace(finite=np.zeros((MEMBERS, 3), bool))
    with logs.progress(EPOCHS, console=Console(file=screen, width=200)) as log:
        log(reports[-1]._replace(info=nothing))
    assert "no member's loss is finite" in screen.getvalue()


def test_a_page_of_one_run_refuses_them(reports, tmp_path):
    with pytest.raises(
        TypeError, match=r"expected a report of one run, .* got one of a population; .*fnn.logs"
    ):
        report_page.live(tmp_path / "report.html")(reports[-1])


def test_mean_and_extremes_over_the_members_that_are_finite(reports):
    found = record(reports[-1])
    summary = summarized(found)
    first, second, _ = found["loss"]
    assert summary["loss"] == {
        "mean": (first + second) / 2,
        "min": min(first, second),
        "max": max(first, second),
    }
    assert (summary["running"], summary["members"]) == (2, MEMBERS)
    paths = scalars(summary)
    assert paths["evaluation/metrics/accuracy/max"] == max(
        found["evaluation"]["metrics"]["accuracy"]
    )
    alone = {"step": 1, "loss": 2.0, "evaluation": {"reductions": {"counts": [1, 2]}}}
    assert summarized(alone) == alone
    assert np.isnan(summarized({"members": 2, "running": [], "loss": [np.nan] * 2})["loss"]["mean"])


def test_each_logger_takes_them(reports, tmp_path):
    screen = io.StringIO()
    console = Console(file=screen, width=200)
    tensorboard = logs.tensorboard(tmp_path / "events", each_step=True, histograms=True)
    with logs.tee(
        logs.progress(EPOCHS, console=console), logs.jsonl(tmp_path / "log.jsonl"), tensorboard
    ) as log:
        for report in reports:
            log(report)
    lines = logs.read(tmp_path / "log.jsonl")
    assert [line["step"] for line in lines] == [3, 6]
    assert lines[-1]["running"] == [True, True, False]
    assert np.isnan(lines[-1]["loss"][2])
    for text in (tmp_path / "log.jsonl").read_text().splitlines():
        json.loads(text, parse_constant=pytest.fail)
    assert "2 of 3 run" in screen.getvalue()
    events = b"".join(path.read_bytes() for path in (tmp_path / "events").iterdir())
    for tag in (b"loss/mean", b"steps/gradient_norm/max", b"params/logits/w"):
        assert tag in events
