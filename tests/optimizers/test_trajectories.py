"""Optimizers step by step: against optax, against rules written out in NumPy, and closed forms."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from stepping import run, scan, wavy
from tables import OPTIMIZERS

from fnn import optimizers

STEPS = 50
in_both_precisions = pytest.mark.parametrize("x64", [True, False], ids=["f64", "f32"])


def trajectory(row, start, x64):
    """The parameters after each of the steps, in one compiled scan."""
    with jax.enable_x64(x64):
        params = jax.tree.map(lambda p: jnp.asarray(p, float), start)
        return jax.jit(lambda p: scan(row.optimizer(), p, wavy, STEPS)[1])(params)


def agree(row, ours, theirs, x64):
    tolerance = 1e-12 if x64 else row.f32_tolerance
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("name", [name for name, row in OPTIMIZERS.items() if row.peer])
@in_both_precisions
def test_trajectory_is_that_of_optax(name, x64, rng):
    """optax always runs in float64, with our state's numbers: 0.999 is another one in float32."""
    row = OPTIMIZERS[name]
    start = {"w": rng.normal(size=(3, 2)).astype(np.float32), "b": np.zeros(2, np.float32)}
    peer = row.peer(**row.numbers(np.float64 if x64 else np.float32))

    @jax.jit
    def step(params, state):
        updates, state = peer.update(wavy(params), state, params)
        return optax.apply_updates(params, updates), state

    # optax raises floats to integer powers, which strict promotion refuses.
    with jax.enable_x64(True), jax.numpy_dtype_promotion("standard"):
        params = jax.tree.map(lambda p: jnp.asarray(p, jnp.float64), start)
        state, theirs = peer.init(params), []
        for _ in range(STEPS):
            params, state = step(params, state)
            theirs.append(params)
    theirs = jax.tree.map(lambda *leaves: np.stack(leaves), *theirs)
    agree(row, trajectory(row, start, x64), theirs, x64)


@pytest.mark.parametrize("name", [name for name, row in OPTIMIZERS.items() if row.formula])
@in_both_precisions
def test_trajectory_is_that_of_the_printed_rule(name, x64, rng):
    row = OPTIMIZERS[name]
    start = rng.normal(size=(3, 2)).astype(np.float32)
    formula = row.formula(
        lambda p: p - 2 + 0.3 * np.sin(3 * p),
        np.asarray(start, np.float64),
        **row.numbers(np.float64 if x64 else np.float32),
    )
    theirs = np.stack(list(itertools.islice(formula, STEPS)))
    agree(row, trajectory(row, start, x64), theirs, x64)


def test_every_row_has_an_independent_trajectory():
    assert [name for name, row in OPTIMIZERS.items() if not (row.formula or row.peer)] == []


def test_momentum_on_a_quadratic_has_the_closed_form():
    """x_{t+1} = x_t + decay (x_t - x_{t-1}) - rate x_t: a recurrence with two roots."""
    rate, decay = 0.1, 0.9
    got = [
        float(x) for x in run(optimizers.momentum(rate, decay), jnp.asarray(1.0), lambda x: x, 50)
    ]
    roots = np.roots([1, -(1 + decay - rate), decay])
    # x_0 = 1, x_1 = 1 - rate fix the two coefficients.
    coefficients = np.linalg.solve(np.stack([roots**0, roots**1]), [1, 1 - rate])
    expected = [(coefficients * roots**t).sum().real for t in range(1, 51)]
    np.testing.assert_allclose(got, expected, atol=1e-5)


def falling(count):
    return jnp.where(count < 3, 0.1, 0.01)


@pytest.mark.parametrize("build", [optimizers.momentum, optimizers.nesterov])
def test_the_dialects_of_momentum_differ_when_the_rate_changes_and_only_then(build):
    """A trace is shortened at once by a rate that falls; a velocity goes on as fast as it was."""
    start = jnp.asarray([1.0, -3.0])
    paths = {
        (dialect, rate): np.stack(run(build(rate, dialect=dialect), start, wavy, 8))
        for dialect in ("trace", "velocity")
        for rate in (0.1, falling)
    }
    np.testing.assert_allclose(paths["velocity", 0.1], paths["trace", 0.1], rtol=1e-5)
    trace, velocity = paths["trace", falling], paths["velocity", falling]
    np.testing.assert_allclose(velocity[:3], trace[:3], rtol=1e-5)
    steps = [np.abs(np.diff(path[2:4], axis=0)) for path in (trace, velocity)]
    assert (steps[1] > 4 * steps[0]).all()


def test_velocity_under_a_schedule_is_kerass():
    """keras.optimizers.SGD: m = momentum * m - rate * g; p += m, or momentum * m - rate * g."""
    for build, ahead in ((optimizers.momentum, False), (optimizers.nesterov, True)):
        got = run(build(falling, dialect="velocity"), jnp.asarray(1.0), wavy, 8)
        p, m = 1.0, 0.0
        for count, now in enumerate(got):
            rate, g = (0.1 if count < 3 else 0.01), p - 2 + 0.3 * np.sin(3 * p)
            m = 0.9 * m - rate * g
            p += 0.9 * m - rate * g if ahead else m
            np.testing.assert_allclose(now, p, rtol=1e-5)


def first_step(optimizer, g):
    return float(run(optimizer, jnp.asarray(0.0), lambda p: jnp.full_like(p, g), 1)[0])


@pytest.mark.parametrize("g", [1e-3, 1.0, 1e3])
def test_adams_first_step_is_the_rate_whatever_the_gradient(g):
    np.testing.assert_allclose(first_step(optimizers.adam(0.1), g), -0.1, rtol=1e-4)


@pytest.mark.parametrize("g", [1e-2, 1.0, 1e3])
def test_adams_first_step_without_correction_is_too_long(g):
    """By (1 - b1) / √(1 - b2) = 3.16, the form that the lecture notes print."""
    plain = first_step(optimizers.adam(0.1, dialect="cs231n"), g)
    np.testing.assert_allclose(plain / first_step(optimizers.adam(0.1), g), 3.1623, rtol=1e-4)


def test_adagrads_first_step_by_dialect():
    """With a gradient of 0.01: the rate itself, and 3 % of it where the sum starts at 0.1."""
    np.testing.assert_allclose(first_step(optimizers.adagrad(1.0), 0.01), -1.0, rtol=1e-5)
    optax_form = first_step(optimizers.adagrad(1.0, dialect="optax"), 0.01)
    np.testing.assert_allclose(optax_form, -0.03161, rtol=1e-3)


@pytest.mark.parametrize("dialect", ["cs231n", "optax"])
def test_adagrads_effective_rate_only_shrinks(dialect, rng):
    optimizer = optimizers.adagrad(0.5, dialect=dialect)
    p = jnp.zeros(4)
    state, effective = optimizer.init(p), []
    for g in rng.normal(size=(30, 4)).astype(np.float32):
        updates, state = optimizer.update(jnp.asarray(g), state, p)
        effective.append(np.asarray(-updates / g, np.float64))
    assert (np.diff(effective, axis=0) < 1e-7).all()
    assert (effective[-1] < 0.4 * effective[0]).all()


def test_the_rate_of_rmsprop_comes_back_after_a_large_gradient():
    """AdaGrad keeps it small for ever: the reason for a mean in place of a sum."""
    gradients = [100.0] + [0.1] * 200
    final = {}
    for build in (optimizers.adagrad, optimizers.rmsprop):
        optimizer, p = build(0.1), jnp.zeros(())
        state = optimizer.init(p)
        for g in gradients:
            updates, state = optimizer.update(jnp.full_like(p, g), state, p)
        final[build] = float(-updates)
    np.testing.assert_allclose(final[optimizers.rmsprop], 0.1, rtol=1e-2)
    assert final[optimizers.adagrad] < 0.001


def test_the_place_of_eps_matters_where_gradients_are_small():
    """g = 1e-5: √(1 - decay) · g is a third of √eps's tenth; outside of the root eps is hardly felt."""
    outside = first_step(optimizers.rmsprop(1.0), 1e-5)
    inside = first_step(optimizers.rmsprop(1.0, dialect="optax"), 1e-5)
    np.testing.assert_allclose(outside, -1e-5 / (np.sqrt(0.1) * 1e-5 + 1e-8), rtol=1e-5)
    np.testing.assert_allclose(inside, -1e-5 / np.sqrt(0.1 * 1e-10 + 1e-8), rtol=1e-5)
    assert outside / inside > 30


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("adagrad", {}),
        ("adagrad", {"dialect": "optax"}),
        ("rmsprop", {}),
        ("rmsprop", {"dialect": "optax"}),
        ("rmsprop", {"centred": True}),
        ("adadelta", {}),
    ],
)
def test_zero_gradients_do_not_divide_by_an_eps_of_zero(name, arguments):
    optimizer = getattr(optimizers, name)(0.1, eps=0.0, **arguments)
    assert run(optimizer, jnp.ones(2), jnp.zeros_like, 3)[-1].tolist() == [1, 1]


@pytest.mark.parametrize("initial", [-0.1, np.nan, np.inf])
def test_a_mean_square_that_no_root_is_of(initial):
    with pytest.raises(ValueError, match="initial finite and at least 0, got"):
        optimizers.rmsprop(0.1, initial=initial)
    with pytest.raises(ValueError, match="initial finite and at least 0, got"):
        optimizers.scale_by_sum_of_squares(1e-8, initial=initial)


def test_a_centred_square_does_not_fall_below_zero():
    """v - m² of gradients that do not change is rounding alone, and its root may be NaN."""
    optimizer, p = optimizers.rmsprop(1.0, centred=True), jnp.zeros(64)
    g = np.linspace(900, 1100, 64, dtype=np.float32)
    state, square, mean = optimizer.init(p), np.zeros_like(g), np.zeros_like(g)
    for _ in range(200):
        updates, state = optimizer.update(g, state, p)
        square = np.float32(0.9) * square + np.float32(0.1) * g * g
        mean = np.float32(0.9) * mean + np.float32(0.1) * g
    assert np.isfinite(updates).all()
    assert (state["scale"].slots["variance"] >= 0).all()
    assert (square - mean * mean < 0).any()  # what the subtraction would have given


class TestRprop:
    def steps(self, dialect, gradients, **bounds):
        optimizer, p = optimizers.rprop(0.1, dialect=dialect, **bounds), jnp.zeros(())
        state, made = optimizer.init(p), []
        for g in gradients:
            update, state = optimizer.update(jnp.full_like(p, g), state, p)
            made.append(float(update))
        return made

    def test_the_published_example_of_torch(self):
        """Gradients +, +, +, -, + give 0.1, 0.12, 0.144, a rest and 0.072."""
        got = self.steps("torch", [1.0, 2.0, 0.5, -1.0, 3.0])
        np.testing.assert_allclose(got, [-0.1, -0.12, -0.144, 0, -0.072], rtol=1e-6)

    def test_the_paper_takes_a_step_back(self):
        got = self.steps("paper", [1.0, 2.0, 0.5, -1.0, 3.0])
        np.testing.assert_allclose(got, [-0.1, -0.12, -0.144, 0.144, -0.072], rtol=1e-6)

    def test_steps_stay_between_their_bounds(self):
        got = self.steps("torch", [1.0] * 4 + [-1.0, 0.0, 1.0] * 2, min_step=0.06, max_step=0.13)
        expected = [0.1, 0.12, 0.13, 0.13, 0, 0, 0.065, 0, 0, 0.06]
        np.testing.assert_allclose(-np.asarray(got), expected, rtol=1e-6)

    def test_gradients_whose_product_is_below_float32(self):
        got = self.steps("torch", [1e-30, 1e-30])
        np.testing.assert_allclose(got, [-0.1, -0.12], rtol=1e-6)

    def test_refuses_a_schedule_of_its_rate(self):
        with pytest.raises(TypeError, match="expected a number for the rate of rprop"):
            optimizers.rprop(optimizers.schedules.constant(0.1))

    @pytest.mark.parametrize(
        ("given", "expected"),
        [
            ({"rate": -1.0}, "rate finite and at least 0, got -1.0"),
            ({"shrink": 1.0}, "shrink at least 0 and below 1, got 1.0"),
            ({"grow": 0.9}, "grow finite and at least 1, got 0.9"),
            ({"min_step": np.nan}, "min_step finite and at least 0, got nan"),
            ({"min_step": 1.0, "max_step": 0.1}, "min_step at most max_step, got 1.0 and 0.1"),
        ],
    )
    def test_refuses_numbers_that_no_step_is_made_with(self, given, expected):
        with pytest.raises(ValueError, match=expected):
            optimizers.rprop(**given)
