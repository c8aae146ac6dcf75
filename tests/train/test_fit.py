"""The loop: what it reports, how it goes on, and what it refuses before the first step."""

import jax.numpy as jnp
import numpy as np
import pytest
from training import LOSS, METRICS, equal, network

from fnn import data, optimizers, train
from fnn.train.fit import call_length


def test_learns_and_yields_after_every_epoch(examples, start):
    reports = list(
        train.fit(
            network(), LOSS, optimizers.adam(0.01), start, examples,
            epochs=8, batch_size=16, validation=examples, metrics=METRICS,
        )
    )  # fmt: skip
    assert [r.steps for r in reports] == [6 * (i + 1) for i in range(8)]
    assert reports[-1].evaluation.metrics["accuracy"] > 0.95
    assert reports[-1].info.loss.mean() < reports[0].info.loss.mean() / 2


def test_reports_and_the_given_state_outlive_the_next_call(examples, start):
    reports = list(
        train.fit(network(), LOSS, optimizers.adam(0.01), start, examples, epochs=3, batch_size=16)
    )
    for report in reports:
        assert np.isfinite(report.train_state.params["hidden"].w).all()
    assert start.step == 0


def test_same_seed_same_parameters_bit_for_bit(examples, start):
    def last():
        *_, report = train.fit(
            network(), LOSS, optimizers.adam(0.01), start, examples, epochs=2, batch_size=16
        )
        return report.train_state

    equal(last(), last())


def test_goes_on_from_a_report(examples, start):
    def fit(state, epochs):
        return train.fit(
            network(),
            LOSS,
            optimizers.adam(0.01),
            state,
            examples,
            epochs=epochs,
            batch_size=16,
        )

    *_, whole = fit(start, 4)
    *_, half = fit(start, 2)
    *_, rest = fit(half.train_state, 4)
    assert (rest.steps, rest.epochs) == (24, 4.0)
    equal(whole.train_state, rest.train_state)


def test_steps_per_call_divides_the_run(examples, start):
    reports = list(
        train.fit(
            network(), LOSS, optimizers.adam(0.01), start, examples,
            epochs=2, batch_size=16, validation=examples, steps_per_call=4,
        )
    )  # fmt: skip
    assert [r.steps for r in reports] == [4, 8, 12]
    assert [r.evaluation is not None for r in reports] == [False, True, True]
    assert [r.epochs for r in reports] == [4 / 6, 8 / 6, 2]


@pytest.mark.parametrize("stop", [1, 4])
def test_goes_on_in_the_middle_of_an_epoch(examples, start, stop):
    """Six steps an epoch, four a call: the same reports as without the break, bit for bit."""

    def fit(state):
        return train.fit(
            network(), LOSS, optimizers.adam(0.01), state, examples,
            epochs=3, batch_size=16, validation=examples, steps_per_call=4,
        )  # fmt: skip

    whole = list(fit(start))
    assert [r.steps for r in whole] == [3, 6, 9, 12, 15, 18]
    for report in fit(start):
        if report.steps == 3 * stop:
            break
    rest = list(fit(report.train_state))
    assert len(rest) == len(whole) - stop
    for a, b in zip(rest, whole[stop:], strict=True):
        assert (a.steps, a.epochs) == (b.steps, b.epochs) == (b.train_state.step, b.steps / 6)
        assert (a.evaluation is None) == (b.evaluation is None)
        equal(a.train_state, b.train_state)


def test_finishes_an_epoch_that_was_begun_elsewhere(examples, start):
    """Two steps made by hand: the first call makes the four that are left of the epoch."""
    optimizer = optimizers.adam(0.01)
    two = train.epoch(network(), LOSS, optimizer, batch_size=16, steps=2)
    begun, _ = two(train.copy(start), examples)
    reports = list(
        train.fit(
            network(), LOSS, optimizer, begun, examples,
            epochs=2, batch_size=16, validation=examples,
        )
    )  # fmt: skip
    assert [(r.steps, r.epochs, len(r.info.loss)) for r in reports] == [(6, 1, 4), (12, 2, 6)]
    assert all(r.evaluation is not None for r in reports)
    *_, whole = train.fit(network(), LOSS, optimizer, start, examples, epochs=2, batch_size=16)
    equal(reports[-1].train_state, whole.train_state)


def test_nothing_is_left_to_make(examples, start):
    *_, last = train.fit(
        network(), LOSS, optimizers.adam(0.01), start, examples, epochs=2, batch_size=16
    )
    with pytest.raises(ValueError, match=r"more epochs than the 2 .* counted from step 0, got 2"):
        train.fit(
            network(), LOSS, optimizers.adam(0.01), last.train_state, examples,
            epochs=2, batch_size=16,
        )  # fmt: skip


@pytest.mark.parametrize(
    ("total", "wanted", "length"),
    [
        (372, 1, 1),
        (372, 8, 6),
        (372, 10, 12),
        (372, 1000, 372),
        (1009, 100, 100),
        (1009, 600, 1009),
    ],
)
def test_the_length_of_a_call(total, wanted, length):
    """A divisor, unless all are far from what was wanted: 1009 is prime."""
    assert call_length(total, wanted) == length


def test_a_shorter_last_call(examples, start):
    """13 steps of which 5 a call are wanted: 13 is prime."""
    reports = list(
        train.fit(
            network(), LOSS, optimizers.adam(0.01), start, examples,
            epochs=13, batch_size=96, steps_per_call=5,
        )
    )  # fmt: skip
    assert [r.steps for r in reports] == [5, 10, 13]
    assert [len(r.info.loss) for r in reports] == [5, 5, 3]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"epochs": 0}, "at least one epoch, got 0"),
        ({"batch_size": 97}, "to the 96 examples, got 97"),
        ({"steps_per_call": 0}, "at least one step a call, got 0"),
        ({"gradient": "magic"}, "'hand', 'auto' or 'both', got 'magic'"),
    ],
)
def test_refuses_at_the_call_not_in_the_loop(examples, start, options, message):
    given = {"epochs": 1, "batch_size": 16} | options
    with pytest.raises(ValueError, match=message):
        train.fit(network(), LOSS, optimizers.adam(0.01), start, examples, **given)


def test_another_optimizers_state(examples, start):
    with pytest.raises(ValueError, match=r"another optimizer's: they differ in .*moments/steps"):
        train.fit(
            network(), LOSS, optimizers.momentum(0.01), start, examples, epochs=1, batch_size=16
        )


@pytest.mark.parametrize("which", ["examples", "validation"])
@pytest.mark.parametrize("kind", [np.asarray, jnp.asarray])
def test_labels_out_of_range(examples, start, which, kind):
    x, labels = examples
    bad = (x, kind(labels.at[5].set(3)))
    given = {"examples": examples, "validation": examples, which: bad}
    with pytest.raises(ValueError, match=r"labels in \[0, 3\), got 3 at example \(5,\)"):
        train.fit(
            network(), LOSS, optimizers.adam(0.01), start, given["examples"],
            epochs=1, batch_size=16, validation=given["validation"],
        )  # fmt: skip


@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        (
            {"reductions": {"c": train.confusion(3)}},
            ValueError,
            "expected examples to evaluate on.*'c'",
        ),
        ({"validation": 5}, ValueError, "evaluate on, got none"),
        ({"validation": 6}, TypeError, "validation: expected arrays .*got Pipeline"),
        ({"validation": 7, "reductions": {"c": train.confusion(5)}}, ValueError, "of 5 classes"),
        (
            {"validation": 7, "metrics": {"m": lambda y, t: y.mean()}},
            ValueError,
            "metric 'm'.*got shape",
        ),
        ({"metrics": [train.accuracy]}, TypeError, "functions by name"),
    ],
)
def test_an_evaluation_that_cannot_be_is_refused_at_the_call(
    start, examples, options, error, match
):
    x, labels = examples
    sets = {5: (x[:0], labels[:0]), 6: data.pipeline((x, labels)), 7: examples}
    if "validation" in options:
        options = options | {"validation": sets[options["validation"]]}
    with pytest.raises(error, match=match):
        train.fit(
            network(),
            LOSS,
            optimizers.adam(0.01),
            start,
            examples,
            epochs=1,
            batch_size=16,
            **options,
        )


@pytest.mark.parametrize(
    ("given", "error", "match"),
    [
        (lambda x, y: iter([(x, y)]), TypeError, "examples: expected arrays .*got list_iterator"),
        (lambda x, y: (x.tolist(), y), ValueError, "of lists of numbers, make arrays"),
    ],
)
def test_examples_that_are_no_arrays_are_refused(start, examples, given, error, match):
    with pytest.raises(error, match=match):
        train.fit(
            network(), LOSS, optimizers.adam(0.01), start, given(*examples), epochs=1, batch_size=16
        )


def test_an_optimizer_that_was_not_made_is_refused():
    with pytest.raises(TypeError, match=r"train.step: expected an optimizer, got .*call it: sgd"):
        train.step(network(), LOSS, optimizers.sgd)
