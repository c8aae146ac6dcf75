"""Early stopping and the divergence stop: as pure functions, and around `fit`."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from training import LOSS, equal, network

from fnn import optimizers, train
from fnn.train import divergence_stop, early_stopping


def watch(stopping, values, kept=None):
    """The states after each value, with the value's index for what is kept."""
    state = stopping.init(jnp.asarray(-1) if kept is None else kept)
    states = []
    for i, value in enumerate(values):
        state = stopping.update(value, jnp.asarray(i), state)
        states.append(state)
    return states


def test_stops_after_so_many_values_that_are_not_better():
    states = watch(early_stopping(2), [3.0, 2.0, 2.0, 1.0, 1.5, 1.0, 0.5])
    assert [bool(early_stopping(2).stop(s)) for s in states] == [False] * 5 + [True, False]
    assert [int(s.best) for s in states] == [0, 1, 1, 3, 3, 3, 6]
    assert [int(s.at) for s in states] == [0, 1, 1, 3, 3, 3, 6]
    np.testing.assert_allclose([float(s.value) for s in states], [3, 2, 2, 1, 1, 1, 0.5])


def test_higher_may_be_better_and_by_how_much_can_be_said():
    states = watch(early_stopping(3, min_delta=0.5, mode="max"), [1.0, 1.4, 1.5, 1.6, 2.2])
    assert [int(s.best) for s in states] == [0, 0, 0, 3, 4]
    assert [int(s.bad) for s in states] == [0, 1, 2, 0, 0]


@pytest.mark.parametrize("mode", ["min", "max"])
def test_nan_is_not_better(mode):
    states = watch(early_stopping(2, mode=mode), [np.nan, 1.0, np.nan, np.nan])
    assert [int(s.best) for s in states] == [-1, 1, 1, 1]
    assert bool(early_stopping(2, mode=mode).stop(states[-1]))


def test_in_a_scan_under_vmap():
    stopping = early_stopping(2)
    values = jnp.asarray([[3.0, 1.0, 2.0, 0.5], [1.0, 2.0, 3.0, 4.0]])

    def run(values):
        def body(state, value):
            return stopping.update(value, {"p": value}, state), stopping.stop(state)

        return jax.lax.scan(body, stopping.init({"p": jnp.zeros(())}), values)[0]

    state = jax.vmap(run)(values)
    np.testing.assert_array_equal(state.best["p"], [0.5, 1.0])
    np.testing.assert_array_equal(stopping.stop(state), [False, True])


def test_one_compilation():
    stopping, traces = early_stopping(2), []

    @jax.jit
    def update(value, kept, state):
        traces.append(1)
        return stopping.update(value, kept, state)

    state = stopping.init(jnp.ones(3))
    for value in (1.0, 2.0):
        state = update(jnp.asarray(value), jnp.ones(3), state)
    assert len(traces) == 1


def test_around_fit_the_best_parameters_are_kept(examples, start):
    """Wrong labels to validate on: the loss there rises soon, and the run ends before 40 epochs."""
    x, labels = examples
    held_out = x[:32], (labels[:32] + 1) % 3
    stopping = early_stopping(2)
    state = stopping.init(start)
    losses, states = [], []
    for report in train.fit(
        network(),
        LOSS,
        optimizers.adam(0.01),
        start,
        examples,
        epochs=40,
        batch_size=32,
        validation=held_out,
    ):
        losses.append(float(report.evaluation.loss))
        states.append(report.train_state)
        state = stopping.update(report.evaluation.loss, report.train_state, state)
        if stopping.stop(state):
            break
    best = int(np.argmin(losses))
    assert len(losses) == best + 3 < 40
    assert int(state.at) == best
    equal(state.best, states[best])


def test_a_loss_of_three_times_the_first_is_divergence():
    stop = divergence_stop()
    state, seen = stop.init(), []
    for value in (2.0, 1.0, 6.0, 6.1, 0.1):
        state = stop.update(value, state)
        seen.append(bool(stop.stop(state)))
    assert seen == [False, False, False, True, True]


@pytest.mark.parametrize("values", [[np.nan], [np.inf], [1.0, np.nan], [1.0, np.inf]])
def test_what_is_not_finite_is_divergence(values):
    stop = divergence_stop(10.0)
    state = stop.init()
    for value in values:
        assert not stop.stop(state)
        state = stop.update(value, state)
    assert stop.stop(state)


def test_divergence_ends_a_run_in_a_scan():
    """Gradient descent of x² diverges for rates above 1: of many rates under vmap, those are stopped."""
    stop = divergence_stop(3.0)

    def run(rate):
        def body(carry, _):
            x, state = carry
            return (x - rate * 2 * x, stop.update(x**2, state)), None

        return jax.lax.scan(body, (jnp.asarray(1.0), stop.init()), None, length=60)[0][1]

    np.testing.assert_array_equal(
        stop.stop(jax.vmap(run)(jnp.asarray([0.1, 0.9, 1.1, 2.0]))), [False, False, True, True]
    )


def test_options_that_make_no_sense():
    for given in (
        {"patience": 0},
        {"patience": 1, "min_delta": -1.0},
        {"patience": 1, "mode": "up"},
    ):
        with pytest.raises(ValueError, match="expected"):
            early_stopping(**given)
    for factor in (1.0, np.inf, np.nan):
        with pytest.raises(ValueError, match="a finite factor above 1"):
            divergence_stop(factor)
