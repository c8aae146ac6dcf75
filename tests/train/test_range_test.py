"""The learning-rate range test: on real digits, against steps made one by one, and when it stops."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from training import LOSS, counting, equal

from fnn import chain, layers, mixed, optimizers, pure, train
from fnn.data.packaged import digits
from fnn.optimizers import Minimizer, with_hyperparameters
from fnn.train.batches import batch_indices
from fnn.train.range_test import read


def network():
    return chain(
        flat=layers.flatten(),
        hidden=layers.linear(16),
        act=layers.relu(),
        logits=layers.linear(10),
    )


OPTIMIZER = optimizers.momentum(0.1)


@pytest.fixture(scope="module")
def images():
    data = digits().train
    return jnp.asarray(data.x), jnp.asarray(data.y)


@pytest.fixture(scope="module")
def begin(images):
    return train.init(network(), OPTIMIZER, jax.random.key(0), images[0])


@pytest.fixture(scope="module")
def found(images, begin):
    """One for all tests, and how often its network was traced."""
    net, traces = counting(network())
    kept = train.copy(begin)
    result = train.range_test(net, LOSS, OPTIMIZER, begin, images, batch_size=64, high=1e3)
    equal(begin, kept)
    return result, len(traces)


def test_the_suggested_rate_trains_and_a_hundred_times_as_much_does_not(images, begin, found):
    result, _ = found
    run = train.epoch(network(), LOSS, OPTIMIZER, batch_size=64, steps=100)

    def train_at(rate):
        memory = with_hyperparameters(begin.optimizer, rate=rate)
        return run(train.copy(begin._replace(optimizer=memory)), images)[1].loss

    good, bad = train_at(result.suggestion), train_at(100 * result.suggestion)
    assert good[-10:].mean() < 0.3 * result.first
    # Its losses jump up, and stay where they began: all hidden units are dead.
    assert bad.max() > 1.5 * result.first
    assert bad[-10:].mean() > 0.8 * result.first


def test_the_curve_stops_where_it_diverges(found):
    result, _ = found
    assert result.diverged
    made = len(result.rates)
    assert made < 100
    assert result.losses.shape == result.smoothed.shape == (made,)
    assert (result.losses[:-1] <= 3 * result.first).all()
    assert not result.losses[-1] <= 3 * result.first
    np.testing.assert_allclose(result.rates[1:] / result.rates[:-1], 1e8 ** (1 / 99), rtol=1e-6)
    np.testing.assert_allclose(
        result.suggestion, np.sqrt(result.steepest * result.lowest_tenth), rtol=1e-6
    )


def test_the_losses_are_those_of_steps_made_one_by_one(images, begin):
    result = train.range_test(
        network(), LOSS, OPTIMIZER, begin, images, batch_size=64, low=0.01, high=0.1, steps=4
    )
    step, state, losses = train.step(network(), LOSS, OPTIMIZER), train.copy(begin), []
    for rate in (*np.geomspace(0.01, 0.1, 4), 0.0):
        indices = batch_indices(state.key, state.step, len(images[0]), 64)
        state = state._replace(optimizer=with_hyperparameters(state.optimizer, rate=rate))
        state, info = step(state, (images[0][indices], images[1][indices]))
        losses.append(float(info.loss))
    np.testing.assert_allclose(result.first, losses[0], rtol=1e-5)
    np.testing.assert_allclose(result.losses, losses[1:], rtol=1e-4)
    assert not result.diverged


def test_is_one_program_for_all_rates(found):
    """The shape of the loss is asked for, the step is traced, and no rate needs another."""
    _, traces = found
    assert 1 <= traces <= 2


def test_makes_no_step_after_it_has_diverged(images, begin):
    """Counted where the updates are computed."""
    seen = []
    inner = optimizers.as_minimizer(optimizers.sgd(0.1))

    def update(objective, value, grads, state, params):
        jax.debug.callback(lambda v: seen.append(float(v)), value)
        return inner.update(objective, value, grads, state, params)

    counted = Minimizer(inner.init, update)
    start = begin._replace(optimizer=counted.init(begin.params))
    result = train.range_test(
        network(), LOSS, counted, start, images, batch_size=64, low=0.1, high=1e5, steps=30
    )
    jax.effects_barrier()
    assert result.diverged
    assert len(result.rates) < 30
    # One for the loss before any step, and one for each loss of the curve, the one that stopped it last.
    assert len(seen) == len(result.rates) + 1
    np.testing.assert_allclose(sorted(seen)[-1], result.losses[-1], rtol=1e-6)


class TestRead:
    """The rules, on a curve that is known."""

    rates = np.geomspace(1e-4, 1, 41)  # ten to a factor of ten

    def test_the_steepest_place_and_the_lowest(self):
        at = np.log10(self.rates)
        losses = 2 - np.tanh(3 * (at + 2)) + np.where(at > -1, 5 * (at + 1) ** 2, 0)
        result = read(self.rates, np.append(2.9, losses), 0.0)
        np.testing.assert_allclose(result.steepest, 1e-2)
        lowest = self.rates[np.argmin(losses)]
        np.testing.assert_allclose(result.lowest_tenth, lowest / 10)
        np.testing.assert_allclose(result.suggestion, np.sqrt(1e-2 * lowest / 10))
        np.testing.assert_array_equal(result.smoothed, losses)

    def test_smoothing_is_a_mean_over_both_sides_that_does_not_shift(self):
        losses = 2 - np.tanh(3 * (np.log10(self.rates) + 2))
        result = read(self.rates, np.append(2.9, losses), 0.7)
        np.testing.assert_allclose(result.steepest, 1e-2)
        weights = 0.7 ** np.abs(np.arange(41) - 20)
        np.testing.assert_allclose(result.smoothed[20], (weights * losses).sum() / weights.sum())

    @pytest.mark.parametrize("bad", [np.nan, np.inf, 10.0])
    def test_what_stopped_it_does_not_count(self, bad):
        losses = np.linspace(2, 1, 41)
        losses[30:] = bad
        result = read(self.rates, np.append(3.0, losses), 0.5)
        assert result.diverged
        assert len(result.rates) == 31
        np.testing.assert_array_equal(result.losses[-1], bad)
        assert np.isnan(result.smoothed[-1])
        np.testing.assert_allclose(result.lowest_tenth, self.rates[29] / 10)

    def test_no_suggestion_where_nothing_falls(self):
        result = read(self.rates, np.append(1.0, np.linspace(1, 2, 41)), 0.5)
        assert (result.steepest, result.lowest_tenth, result.suggestion) == (None, None, None)
        assert train.range_table(result).endswith("No rate lowered the loss.")

    def test_a_loss_that_is_not_finite_before_any_step(self):
        with pytest.raises(ValueError, match="finite loss before the first step, got nan"):
            read(self.rates, np.full(42, np.nan), 0.5)


def test_the_table_shows_the_curve_and_marks_what_it_suggests(found):
    result, _ = found
    lines = train.range_table(result, rows=12, width=30).split("\n")
    assert len(lines) == 13
    assert "falls fastest" in "".join(lines)
    assert lines[-1].endswith("← diverged")
    marked = next(line for line in lines if f"suggestion {result.suggestion:.2g}" in line)
    # The row nearest to it.
    assert abs(np.log(float(marked.split()[0]) / result.suggestion)) < np.log(1e8) / 11
    assert max(line.count("█") for line in lines) in (29, 30)
    with pytest.raises(ValueError, match="at least two rows and a width of 1, got 1 rows"):
        train.range_table(result, rows=1)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"low": 0.0}, "0 < low < high of a range test, got 0.0 and 10.0"),
        ({"low": 1.0, "high": 0.1}, "0 < low < high"),
        ({"high": np.inf}, "0 < low < high"),
        ({"steps": 3}, "at least 4 steps of a range test, got 3"),
        ({"smoothing": 1.0}, "0 <= smoothing < 1, got 1.0"),
        ({"batch_size": 10**6}, "batch size from 1 to the"),
    ],
)
def test_arguments_that_make_no_sense(images, begin, options, expected):
    with pytest.raises(ValueError, match=expected):
        train.range_test(
            network(), LOSS, OPTIMIZER, begin, images, **({"batch_size": 64} | options)
        )


def test_a_rate_that_is_no_leaf(images, begin):
    scheduled = optimizers.sgd(optimizers.schedules.constant(0.1))
    start = begin._replace(optimizer=scheduled.init(begin.params))
    with pytest.raises(KeyError, match="hyperparameter 'rate' as a leaf"):
        train.range_test(network(), LOSS, scheduled, start, images, batch_size=64)


def test_a_step_that_is_not_finite_ends_it(images, begin):
    """A finite loss whose gradient's squares overflow: no step is made, and there is no curve to read."""
    big = pure("big", lambda p, x: (x, ()), lambda p, c, dy: (p, dy * 1e25))
    net = chain(body=network(), big=big)
    start = train.init(net, OPTIMIZER, jax.random.key(0), images[0])
    result = train.range_test(net, LOSS, OPTIMIZER, start, images, batch_size=64, steps=10)
    assert np.isfinite(result.first)
    assert result.diverged
    np.testing.assert_array_equal(result.losses, [np.inf])
    assert result.suggestion is None


def test_a_batch_that_loss_scaling_skips_is_no_divergence(images):
    """The first scales overflow float16; the losses before and after them are finite."""
    net = mixed(network(), jnp.float16)
    scaled = train.loss_scaling(optimizers.sgd(0.1), initial=2.0**24)
    state = train.init(net, scaled, jax.random.key(0), images[0])
    options = {"batch_size": 64, "low": 1e-4, "high": 1e-3, "steps": 12}
    found = train.range_test(net, LOSS, scaled, state, images, **options)
    assert len(found.rates) == 12
    assert not found.diverged
    assert found.losses[0] == pytest.approx(found.first, rel=0.2)
    _, info = train.step(net, LOSS, scaled)(state, jax.tree.map(lambda a: a[:64], images))
    assert not info.finite
