"""`train.durable`: when it saves, how it goes on, and what it does with signals and failing saves."""

import errno
import os
import signal
import sys
import threading
import time
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from training import LOSS, METRICS, equal

from fnn import chain, layers, optimizers, train
from fnn.train import Interrupted, SaveError
from fnn.train.saving import files

DURABLE = sys.modules[
    "fnn.train.saving.durable"
]  # the module, whose name in the package is the function's
OPTIMIZER = optimizers.momentum(0.05)


def network():
    return chain(drop=layers.dropout(0.1), logits=layers.linear(3))


@pytest.fixture(scope="module")
def examples():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(96, 5)).astype(np.float32)
    return jnp.asarray(x), jnp.asarray(rng.integers(0, 3, 96).astype(np.int32))


@pytest.fixture(scope="module")
def start(examples):
    return train.init(network(), OPTIMIZER, jax.random.key(0), examples[0][:8])


@pytest.fixture
def run(examples, start, tmp_path):
    """A function that begins, or goes on with, a run of 4 epochs of 6 steps, in calls of 3."""

    def begin(**options):
        given = {"epochs": 4, "batch_size": 16, "steps_per_call": 3, "save_steps": 6, **options}
        folder = given.pop("folder", tmp_path / "run")
        return train.durable(folder, network(), LOSS, OPTIMIZER, start, examples, **given)

    return begin


@pytest.fixture
def quick(monkeypatch):
    """A `fit` of the same reports that computes nothing but the steps: for when, not what."""

    def fit(net, loss, optimizer, state, examples, *, epochs, batch_size, steps_per_call):
        made = int(state.step)
        while made < 6 * epochs:
            made += steps_per_call
            state = state._replace(step=jnp.asarray(np.int32(made)))
            yield SimpleNamespace(train_state=state, steps=made)

    monkeypatch.setattr(DURABLE, "fit", fit)


def follow(begin, reports, act):
    """Keep each report, and do something with it; no name holds the run, which its end closes."""
    for report in begin():
        reports.append(report)
        act(report)


def send(*numbers):
    def act(report):
        del report
        for number in numbers:
            os.kill(os.getpid(), number)

    return act


def steps_in(tmp_path):
    return train.checkpoints(tmp_path / "run").steps()


def same_reports(reports, expected):
    assert [r.steps for r in reports] == [r.steps for r in expected]
    for a, b in zip(reports, expected, strict=True):
        equal((a.train_state, a.info, a.evaluation), (b.train_state, b.info, b.evaluation))


def test_goes_on_after_every_kind_of_end(run, examples, start, tmp_path):
    given = {"metrics": METRICS, "validation": examples}
    whole = list(
        train.fit(
            network(), LOSS, OPTIMIZER, start, examples,
            epochs=4, batch_size=16, steps_per_call=3, **given,
        )
    )  # fmt: skip
    reports = []
    for report in run(**given):  # leaving the loop
        reports.append(report)
        if report.steps == 3:
            break
    assert steps_in(tmp_path) == [3]

    def mistake(report):
        if report.steps == 12:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        follow(lambda: run(**given), reports, mistake)
    assert steps_in(tmp_path) == [3, 9, 12]
    with pytest.raises(Interrupted, match=r"SIGTERM after step 15 of 24, which is saved in .*run;"):
        follow(lambda: run(**given), reports, send(signal.SIGTERM))
    assert steps_in(tmp_path) == [9, 12, 15]
    reports += run(**given)
    same_reports(reports, whole)
    assert steps_in(tmp_path) == [15, 21, 24]
    with pytest.warns(train.FinishedRunWarning, match="24 steps of 24 .* more epochs than 4 make"):
        assert list(run(**given)) == []  # nothing is left to make
    with pytest.raises(ValueError, match="at least one epoch"):
        run(epochs=0)


def test_from_a_source_of_batches(run, quick, examples, start, tmp_path):
    """Such as a pipeline: what it has in common with arrays is the count."""
    source = SimpleNamespace(count=96, batches=lambda key, step, size: iter(()))
    for given in (examples, source):
        list(
            train.durable(
                tmp_path / "run", network(), LOSS, OPTIMIZER, start, given,
                epochs=1 if given is examples else 2, batch_size=16, steps_per_call=3,
            )
        )  # fmt: skip
    assert steps_in(tmp_path) == [6, 12]


def test_a_longer_run(run, quick, tmp_path):
    list(run())
    assert [r.steps for r in run(epochs=5)] == [27, 30]
    assert steps_in(tmp_path) == [18, 24, 30]


def test_when_it_saves(run, quick, tmp_path):
    seen = []
    for report in run(save_steps=4, keep=10):
        seen.append((report.steps, steps_in(tmp_path)))
    assert [steps for steps, _ in seen] == [3, 6, 9, 12, 15, 18, 21, 24]
    assert steps_in(tmp_path) == [6, 12, 18, 24]
    assert seen[1:3] == [(6, []), (9, [6])]  # after the report, so that a log is never behind


def test_saves_by_the_clock(run, quick, tmp_path, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(DURABLE, "time", SimpleNamespace(monotonic=lambda: now[0]))
    for _ in run(save_steps=None, save_minutes=2, keep=10):
        now[0] += 50
    assert steps_in(tmp_path) == [9, 18, 24]


def test_keeps_the_best(run, quick, tmp_path):
    scores = {6: 0.3, 12: 0.9, 18: None, 24: 0.5}
    list(run(keep=1, best="max", score=lambda report: scores[report.steps]))
    assert steps_in(tmp_path) == [12, 24]


def test_when_fit_raises_what_was_made_before_is_saved(run, quick, start, tmp_path, monkeypatch):
    fit = DURABLE.fit

    def breaking(*arguments, **options):
        yield next(fit(*arguments, **options))
        raise train.NonFiniteError("not finite", start)

    monkeypatch.setattr(DURABLE, "fit", breaking)
    with pytest.raises(train.NonFiniteError):
        list(run())
    assert steps_in(tmp_path) == [3]


def test_ctrl_c_just_after_a_save(run, quick, tmp_path, monkeypatch):
    commit = files.commit

    def interrupted(*arguments):
        commit(*arguments)
        raise KeyboardInterrupt

    monkeypatch.setattr(files, "commit", interrupted)
    with pytest.raises(KeyboardInterrupt):
        follow(lambda: run(signals=False), [], lambda report: None)
    assert steps_in(tmp_path) == [6]


def full(*_, **__):
    FAILED.set()
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


FAILED = threading.Event()


@pytest.mark.parametrize("background", [False, True])
def test_a_full_disk_is_a_warning_and_tried_again(background, run, quick, tmp_path, monkeypatch):
    reports = []

    def act(report):
        if report.steps == 3:
            FAILED.clear()
            monkeypatch.setattr("fnn.train.saving.checkpoints.trees.write", full)
        if report.steps == 12:
            assert FAILED.wait(60)  # of the thread
            monkeypatch.undo()

    with pytest.warns(RuntimeWarning, match=r"No space left .* It will be tried again"):
        follow(lambda: run(background=background), reports, act)
    assert len(reports) == 8
    assert steps_in(tmp_path) == [12, 18, 24]


@pytest.mark.filterwarnings("ignore:.*It will be tried again")  # the first of two attempts
@pytest.mark.parametrize("background", [False, True])
def test_a_full_disk_at_the_end_holds_the_state(background, run, quick, tmp_path, monkeypatch):
    def act(report):
        if report.steps == 24:
            while steps_in(tmp_path)[-1:] != [18]:
                time.sleep(0.01)
            monkeypatch.setattr("fnn.train.saving.checkpoints.trees.write", full)

    with pytest.raises(SaveError, match="No space left") as caught:
        follow(lambda: run(background=background), [], act)
    assert caught.value.train_state.step == 24
    assert steps_in(tmp_path) == [6, 12, 18]
    monkeypatch.undo()
    with train.checkpoints(tmp_path / "run") as saved:  # when there is room
        saved.save(caught.value.train_state)
    assert steps_in(tmp_path) == [12, 18, 24]


def test_other_settings_are_refused_at_the_call(run, quick):
    next(run(settings={"rate": 0.05}))
    with pytest.raises(ValueError, match="expected the settings of the run") as caught:
        run(settings={"rate": 0.1}, batch_size=8)
    assert "  batch_size: saved 16, now 8\n  rate: saved 0.05, now 0.1" in str(caught.value)
    next(run(settings={"rate": 0.1}, batch_size=8, may_differ=("rate", "batch_size")))


def test_another_number_of_examples_is_refused(run, quick, examples, start, tmp_path):
    next(run())
    fewer = jax.tree.map(lambda a: a[:80], examples)
    with pytest.raises(ValueError, match="examples: saved 96, now 80"):
        train.durable(
            tmp_path / "run", network(), LOSS, OPTIMIZER, start, fewer, epochs=4, batch_size=16
        )


def test_one_run_a_folder(run, quick):
    running = run()
    next(running)
    with pytest.raises(BlockingIOError, match="one writer at a time"):
        next(run())
    running.close()
    next(run())


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"save_steps": 0}, "save_steps above 0, or None, got 0"),
        ({"save_minutes": np.nan}, "save_minutes above 0, or None, got nan"),
        ({"epochs": 0}, "at least one epoch, got 0"),
        ({"keep": 0}, "keep=0"),
        ({"best": "min"}, "a score of a report to choose the best by, as best='min'"),
        ({"settings": {"examples": "digits"}}, "expected 'examples' to be the 96 .*got 'digits'"),
        ({"gradient": "magic"}, "'hand', 'auto' or 'both'"),
    ],
)
def test_refuses_at_the_call_not_in_the_loop(options, words, run, tmp_path):
    with pytest.raises(ValueError, match=words):
        run(**options)
    assert not (tmp_path / "run").exists()


def test_what_is_no_shardings_is_refused_with_a_checkpoint_there(run, quick):
    next(run())
    with pytest.raises(TypeError, match=r"expected train\.shardings\(mesh, rules\), got 'mesh'"):
        run(shardings="mesh")
