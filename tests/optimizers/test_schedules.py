"""Schedules within the optimizers: each step asks for the value at its own count."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from fnn import optimizers
from fnn.optimizers import apply_updates, schedules
from fnn.optimizers.schedules import constant, cosine_with_warmup


def gradient(params):
    return jax.tree.map(lambda p: jnp.sin(3 * p) + 0.5 * p, params)


@pytest.mark.parametrize("name", ["sgd", "momentum", "nesterov", "adam"])
def test_a_trajectory_under_a_cosine_is_that_of_optax(name, rng):
    """A count that stands still, or is one step early or late, gives other rates from the start."""

    def cosine(count):
        """With NumPy-like arithmetic of its own, so that optax asks no function of ours."""
        rising = 0.2 * (count + 1) / 4
        falling = 0.01 + 0.19 * (1 + jnp.cos(jnp.pi * jnp.clip((count - 3) / 9.0, 0, 1))) / 2
        return jnp.where(count < 3, rising, falling)

    with jax.enable_x64(True), jax.numpy_dtype_promotion("standard"):
        ours = getattr(optimizers, name)(cosine_with_warmup(0.2, 12, warmup_steps=3, final=0.01))
        peer = {
            "sgd": lambda: optax.sgd(cosine),
            "momentum": lambda: optax.sgd(cosine, momentum=0.9),
            "nesterov": lambda: optax.sgd(cosine, momentum=0.9, nesterov=True),
            "adam": lambda: optax.adam(cosine),
        }[name]()
        mine = theirs = {"w": jnp.asarray(rng.normal(size=(3, 2))), "b": jnp.zeros(2)}
        state, peers = ours.init(mine), peer.init(theirs)
        for _ in range(15):
            updates, state = ours.update(gradient(mine), state, mine)
            mine = apply_updates(mine, updates)
            updates, peers = peer.update(gradient(theirs), peers, theirs)
            theirs = optax.apply_updates(theirs, updates)
            for a, b in zip(jax.tree.leaves(mine), jax.tree.leaves(theirs), strict=True):
                np.testing.assert_allclose(a, b, rtol=1e-9)


@pytest.mark.parametrize("given", ["decay", "b1", "b2", "eps"])
def test_every_hyperparameter_is_asked_for_at_the_steps_made(given):
    """Adam and momentum see the counts 0, 1, 2, each once."""
    counts = []

    def schedule(count):
        counts.append(int(count))
        return jnp.asarray(0.5)

    build = optimizers.momentum if given == "decay" else optimizers.adam
    optimizer = build(0.1, **{given: schedule})
    state = optimizer.init(jnp.ones(2))
    for _ in range(3):
        _, state = optimizer.update(jnp.ones(2), state, jnp.ones(2))
    assert counts == [0, 1, 2]


@pytest.mark.parametrize("value", [np.inf, np.nan, -0.1])
def test_values_that_no_step_is_made_with(value):
    with pytest.raises(ValueError, match="peak finite and at least 0"):
        cosine_with_warmup(value, 10)
    with pytest.raises(ValueError, match="final finite and at least 0"):
        cosine_with_warmup(0.1, 10, final=value)


def test_a_state_made_with_a_number_where_a_schedule_is_given():
    number, scheduled = optimizers.adam(0.1), optimizers.adam(constant(0.1))
    params = jnp.ones(2)
    for optimizer, state, expected in (
        (scheduled, number.init(params), r"with the hyperparameters \[\], got one with \['rate'\]"),
        (number, scheduled.init(params), r"with the hyperparameters \['rate'\], got one with \[\]"),
    ):
        with pytest.raises(ValueError, match=expected):
            optimizer.update(params, state, params)


def test_a_schedule_that_gives_several_numbers():
    optimizer, params = optimizers.sgd(lambda count: jnp.full(2, 0.1)), jnp.ones(2)
    with pytest.raises(
        ValueError, match=r"schedule of rate to give one number .* got shape \(2,\)"
    ):
        optimizer.update(params, optimizer.init(params), params)


class TestLargeCounts:
    """Beyond 2²⁴, where float32 has no odd integers any more, counts stay exact."""

    def test_boundaries_are_met_at_their_very_count(self):
        edge = 2**24 + 1
        counts = jnp.asarray([edge - 1, edge, edge + 1])
        pieces = schedules.piecewise_constant([0.1, 0.2], [edge])
        joined = schedules.join([constant(0.1), constant(0.2)], [edge])
        steps = schedules.step_decay(0.2, 0.5, edge)
        np.testing.assert_allclose(pieces(counts), [0.1, 0.2, 0.2])
        np.testing.assert_allclose(joined(counts), [0.1, 0.2, 0.2])
        np.testing.assert_allclose(steps(counts), [0.2, 0.1, 0.1])

    @pytest.mark.parametrize("start", [2**25, 2**30 + 1, 2**31 - 40])
    def test_periods_do_not_blur(self, start):
        counts = np.arange(start, start + 40)
        triangles = schedules.cyclical(0.0, 1.0, 10)(jnp.asarray(counts, jnp.int32))
        np.testing.assert_allclose(triangles, 1 - np.abs((counts % 20) / 10 - 1), atol=1e-6)
        restarts = schedules.cosine_with_restarts(1.0, 7)(jnp.asarray(counts, jnp.int32))
        np.testing.assert_allclose(restarts, (1 + np.cos(np.pi * (counts % 7) / 7)) / 2, atol=1e-6)

    def test_the_last_steps_of_a_long_run_keep_their_digits(self):
        """A share that is computed as 1 - count / T would be 0 for the last hundred steps."""
        total, left = 2**31 - 1, np.asarray([1, 2, 3, 50, 100])
        counts = jnp.asarray(total - left, jnp.int32)
        line = schedules.linear(1.0, total)(counts)
        np.testing.assert_allclose(line, left / total, rtol=1e-6)
        cosine = schedules.cosine(1.0, total)(counts)
        np.testing.assert_allclose(cosine, np.sin(np.pi / 2 * left / total) ** 2, rtol=1e-6)

    def test_a_factor_close_to_one_keeps_its_digits(self):
        """float32's 0.999999 is 0.99999899: after a million steps, a power of that is 1 % off."""
        value = schedules.exponential(1.0, 0.999999)(jnp.asarray(1_000_000))
        np.testing.assert_allclose(value, 0.999999**1_000_000, rtol=1e-6)


@pytest.mark.parametrize(
    ("build", "match"),
    [
        (
            lambda: schedules.step_decay(0.1, 1.5, 10),
            "factor above 0 and at most 1, got 1.5",
        ),
        (
            lambda: schedules.exponential(0.1, 1.5),
            "expected final, the value to stop at",
        ),
        (lambda: schedules.exponential(0.1, np.inf), "factor finite"),
        (lambda: schedules.exponential(0.1, 0.5, final=0.2), "final at most start, 0.1, got 0.2"),
        (lambda: schedules.exponential(0.1, 2, final=0.05), "final at least start, 0.1, got 0.05"),
        (lambda: schedules.step_decay(0.1, 0.5, 3, final=1), "final at most start, 0.1, got 1.0"),
        (
            lambda: schedules.one_cycle(0.1, 10, rise=0.01),
            "a step at least up and one down",
        ),
        (lambda: schedules.cyclical(0.2, 0.1, 5), "low at most high"),
        (lambda: schedules.cyclical(0.1, 0.2, 2**30), "a cycle .* at most 2³¹ - 1"),
        (
            lambda: schedules.piecewise_constant([0.1, 0.2], []),
            "one value more than boundaries",
        ),
        (
            lambda: schedules.piecewise_constant([1, 2, 3], [5, 5]),
            "boundaries that rise",
        ),
        (lambda: schedules.piecewise_constant([1, 2], [0]), "a boundary of at least 1"),
        (
            lambda: schedules.piecewise_constant([1, -2], [4]),
            r"values\[1\] finite and at least 0",
        ),
        (
            lambda: schedules.piecewise_interpolated({3: 0.1}),
            "two points at least, got 1",
        ),
        (
            lambda: schedules.piecewise_interpolated({3: 0.1, 2: 0.2}),
            "boundaries that rise",
        ),
        (
            lambda: schedules.join([constant(1)], [3]),
            "one schedule more than boundaries",
        ),
        (
            lambda: schedules.linear(0.1, 10, final=np.asarray([1.0])),
            "final to be one number",
        ),
    ],
)
def test_refused_when_built(build, match):
    with pytest.raises(ValueError, match=match):
        build()


def test_a_number_where_a_schedule_is_expected():
    with pytest.raises(
        TypeError, match=r"expected a schedule to be a function.*constant\(number\)"
    ):
        schedules.warmup(0.1, 5)
    with pytest.raises(TypeError, match=r"schedules\[1\] to be a function of the count, got 0.1"):
        schedules.join([constant(0.1), 0.1], [5])
    with pytest.raises(ValueError, match=r"one number, got shape \(2,\); map over several"):
        jax.eval_shape(lambda peak: schedules.cosine(peak, 5)(0), jnp.ones(2))


def test_what_grows_from_nothing_stays_nothing():
    """0 · 2^n is 0 still where 2^n has no float any more."""
    assert schedules.exponential(0.0, 2.0, final=1.0)(2**31 - 1) == 0


def test_what_rises_from_far_below_comes_to_its_end():
    """From 1e-30 to 1e10 is more than e^88, the whole of float32 above 1."""
    values = schedules.exponential(1e-30, 10.0, final=1e10)(jnp.asarray([0, 25, 39, 40, 2**31 - 1]))
    np.testing.assert_allclose(values, [1e-30, 1e-5, 1e9, 1e10, 1e10], rtol=1e-4)


@pytest.mark.parametrize(
    "number", [np.float32, jnp.float32, jnp.bfloat16], ids=lambda f: f.__name__
)
def test_numbers_of_any_library(number):
    expected = schedules.step_decay(0.5, 0.25, 10)(12)
    assert schedules.step_decay(number(0.5), number(0.25), 10)(12) == expected


def test_a_factor_is_part_of_the_program():
    with pytest.raises(ValueError, match=r"factor to be known when .* only values, such as a peak"):
        jax.eval_shape(lambda factor: schedules.step_decay(0.1, factor, 5)(0), jnp.ones(()))


def test_warmup_of_nothing_is_the_schedule():
    schedule = schedules.cosine(0.1, 5)
    assert schedules.warmup(schedule, 0) is schedule


def test_a_rate_and_a_momentum_that_go_opposite_ways():
    """The one cycle of both, over a run: each step uses the values at its own count."""
    rate = schedules.one_cycle(0.2, 8, rise=0.5)
    decay = schedules.one_cycle(0.85, 8, start=0.95, final=0.95, rise=0.5)
    optimizer = optimizers.momentum(rate, decay)
    params, trace = np.asarray([1.0, -2.0]), np.zeros(2)
    state, expected = optimizer.init(jnp.asarray(params, jnp.float32)), params
    for count in range(8):
        updates, state = optimizer.update(jnp.asarray(params, jnp.float32), state, jnp.zeros(2))
        s = count / 4 if count < 4 else 2 - count / 4
        bend = (1 - np.cos(np.pi * s)) / 2
        low = 0.008 if count < 4 else 0.2 / 250_000
        trace = (0.95 - 0.1 * bend) * trace + params
        expected = -(low + (0.2 - low) * bend) * trace
        np.testing.assert_allclose(updates, expected, rtol=1e-5)


class TestCosineWithWarmup:
    def test_first_peak_and_last_values(self):
        schedule = cosine_with_warmup(1.0, 100, warmup_steps=9, final=0.1)
        counts = jnp.asarray([0, 9, 100, 500])
        np.testing.assert_allclose(schedule(counts), [0.1, 1.0, 0.1, 0.1], rtol=1e-6)
        np.testing.assert_allclose(schedule(jnp.asarray(9 + 91 / 2)), 0.55, rtol=1e-5)
        assert schedule(jnp.asarray(99)) > 0.1

    def test_never_rises_after_the_peak(self):
        values = cosine_with_warmup(1.0, 100, warmup_steps=9)(jnp.arange(9, 101))
        assert (np.diff(values) <= 0).all()

    @pytest.mark.parametrize("warmup", [-1, 100, 200])
    def test_refuses_a_warmup_that_does_not_fit(self, warmup):
        with pytest.raises(ValueError, match="0 <= warmup_steps < total_steps"):
            cosine_with_warmup(1.0, 100, warmup_steps=warmup)
