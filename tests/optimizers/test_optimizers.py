"""Optimizers: every property over the table, trajectories against closed forms and optax."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from tables import OPTIMIZERS, OptimizerRow, public

from fnn import optimizers
from fnn.optimizers import apply_updates, cosine_with_warmup, with_hyperparameters
from fnn.tree import paths


@pytest.fixture(params=OPTIMIZERS.values(), ids=OPTIMIZERS)
def row(request: pytest.FixtureRequest) -> OptimizerRow:
    return request.param


def run(optimizer, params, gradient, steps):
    """The parameters after each step."""
    state, trajectory = optimizer.init(params), []
    for _ in range(steps):
        updates, state = optimizer.update(gradient(params), state, params)
        params = apply_updates(params, updates)
        trajectory.append(params)
    return trajectory


def parabola(params):
    return jax.tree.map(lambda p: 2 * (p - 1), params)


# The rest are transforms, which optimizers are made of, and wrappers of optimizers.
PIECES = {"compose", "descend", "leafwise", "scale_by_moments", "trace"}
CONSTRUCTORS = {
    name: function
    for name, function in public(optimizers, optimizers.Optimizer).items()
    if name not in PIECES
}


def test_every_public_optimizer_is_in_the_table():
    assert {row.build.__name__ for row in OPTIMIZERS.values()} == set(CONSTRUCTORS)


def test_converges_on_a_parabola(row):
    start = {"a": jnp.asarray([3.0, -2.0]), "b": jnp.asarray(5.0)}
    end = run(row.optimizer(), start, parabola, row.parabola_steps)[-1]
    for leaf in jax.tree.leaves(end):
        np.testing.assert_allclose(leaf, 1, atol=1e-3)


def wavy(params):
    """A gradient with bends and one zero, so that no rounding is blown up on the way there."""
    return jax.tree.map(lambda p: p - 2 + 0.3 * jnp.sin(3 * p), params)


STEPS = 50


@pytest.mark.parametrize("name", [name for name, row in OPTIMIZERS.items() if row.peer])
@pytest.mark.parametrize(("x64", "tolerance"), [(True, 1e-12), (False, 1e-6)], ids=["f64", "f32"])
def test_trajectory_is_that_of_optax(name, x64, tolerance, rng):
    """optax always runs in float64, with our state's numbers: 0.999 is another one in float32."""
    row = OPTIMIZERS[name]
    start = {"w": rng.normal(size=(3, 2)).astype(np.float32), "b": np.zeros(2, np.float32)}
    with jax.enable_x64(x64):
        mine = jax.tree.map(lambda p: jnp.asarray(p, float), start)
        ours = run(row.optimizer(), mine, wavy, STEPS)
    # optax raises floats to integer powers, which strict promotion refuses.
    with jax.enable_x64(True), jax.numpy_dtype_promotion("standard"):
        peer = row.peer(**row.numbers(mine["b"].dtype))
        params = jax.tree.map(lambda p: jnp.asarray(p, jnp.float64), start)
        state = peer.init(params)
        for now in ours:
            updates, state = peer.update(wavy(params), state, params)
            params = optax.apply_updates(params, updates)
            for a, b in zip(jax.tree.leaves(now), jax.tree.leaves(params), strict=True):
                np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("name", [name for name, row in OPTIMIZERS.items() if row.formula])
@pytest.mark.parametrize(("x64", "tolerance"), [(True, 1e-12), (False, 1e-6)], ids=["f64", "f32"])
def test_trajectory_is_that_of_the_printed_rule(name, x64, tolerance, rng):
    row = OPTIMIZERS[name]
    start = rng.normal(size=(3, 2)).astype(np.float32)
    with jax.enable_x64(x64):
        ours = run(row.optimizer(), jnp.asarray(start, float), wavy, STEPS)
    theirs = row.formula(
        lambda p: p - 2 + 0.3 * np.sin(3 * p), np.asarray(start, np.float64), row.rate
    )
    for now, p in zip(ours, theirs, strict=False):
        np.testing.assert_allclose(now, p, rtol=tolerance, atol=tolerance)


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


def test_adams_first_step_is_the_rate_whatever_the_gradient():
    for g in (1e-3, 1.0, 1e3):
        first = run(optimizers.adam(0.1), jnp.asarray(0.0), lambda x, g=g: jnp.full_like(x, g), 1)[
            0
        ]
        np.testing.assert_allclose(first, -0.1, rtol=1e-4)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16], ids=str)
def test_parameters_keep_their_dtype_and_moments_are_wide(row, dtype):
    params = {"w": jnp.ones((3, 2), dtype)}
    optimizer = row.optimizer()
    state = optimizer.init(params)
    updates, new_state = optimizer.update(params, state, params)
    after = apply_updates(params, updates)
    assert after["w"].dtype == dtype
    for (path, before), (_, leaf) in zip(paths(state), paths(new_state), strict=True):
        assert (leaf.shape, leaf.dtype) == (before.shape, before.dtype), path
        assert leaf.dtype in (jnp.float32, jnp.int32), path


def test_one_compilation_serves_every_hyperparameter(row):
    params = {"w": jnp.ones(3)}
    optimizer, traces = row.optimizer(), []

    @jax.jit
    def step(params, state):
        traces.append(1)
        updates, state = optimizer.update(parabola(params), state, params)
        return apply_updates(params, updates), state

    state = optimizer.init(params)
    first, state = step(params, state)
    first, state = step(first, state)
    half = with_hyperparameters(state, rate=0.0)
    still, _ = step(first, half)
    np.testing.assert_array_equal(still["w"], first["w"])
    assert len(traces) == 1
    names = {path.rpartition("/")[2] for path, _ in paths(state) if "hyper/" in path}
    assert names == {"rate", *row.hyperparameters}


def test_vmap_over_rates_equals_single_runs(row):
    rates = row.rate * jnp.asarray([0.25, 0.5, 1.0])
    start = jnp.asarray([3.0, -2.0])

    def train(rate):
        return run(row.optimizer(rate), start, parabola, 10)[-1]

    together = jax.vmap(train)(rates)
    for got, rate in zip(together, rates, strict=True):
        np.testing.assert_allclose(got, train(float(rate)), rtol=1e-5)


def test_schedules_drive_any_hyperparameter(row):
    """A schedule that is constant gives the trajectory of the number."""
    start = jnp.asarray([3.0, -2.0])
    defaults = {"rate": row.rate, **row.hyperparameters}
    given = {name: optimizers.constant(value) for name, value in defaults.items()}
    plain = run(row.optimizer(), start, parabola, 10)[-1]
    np.testing.assert_array_equal(run(row.optimizer(**given), start, parabola, 10)[-1], plain)
    state = row.optimizer(**given).init(start)
    with pytest.raises(KeyError, match="rate"):
        with_hyperparameters(state, rate=0.1)


@pytest.mark.parametrize("params", [{}, {"w": ()}, {"w": jnp.zeros((0, 3))}], ids=str)
def test_empty_trees_and_leaves(row, params):
    optimizer = row.optimizer()
    updates, _ = optimizer.update(params, optimizer.init(params), params)
    assert jax.tree.structure(apply_updates(params, updates)) == jax.tree.structure(params)


def test_inputs_are_not_changed(row):
    params = {"w": np.ones(3, np.float32)}
    optimizer = row.optimizer()
    state = optimizer.init(params)
    before = [np.array(leaf) for leaf in jax.tree.leaves(state)]
    optimizer.update({"w": np.ones(3, np.float32)}, state, params)
    for leaf, old in zip(jax.tree.leaves(state), before, strict=True):
        np.testing.assert_array_equal(leaf, old)
    np.testing.assert_array_equal(params["w"], 1)


class TestCosineWithWarmup:
    def test_first_peak_and_last_values(self):
        schedule = cosine_with_warmup(1.0, 100, warmup_steps=9, final=0.1)
        np.testing.assert_allclose(schedule(jnp.asarray(0)), 0.1, rtol=1e-6)
        np.testing.assert_allclose(schedule(jnp.asarray(9)), 1.0)
        middle = 9 + 91 / 2
        np.testing.assert_allclose(schedule(jnp.asarray(middle)), 0.55, rtol=1e-5)
        assert schedule(jnp.asarray(99)) > 0.1
        np.testing.assert_allclose(schedule(jnp.asarray(100)), 0.1, rtol=1e-6)
        np.testing.assert_allclose(schedule(jnp.asarray(500)), 0.1, rtol=1e-6)

    def test_never_rises_after_the_peak(self):
        steps = jnp.arange(9, 101)
        values = jax.vmap(cosine_with_warmup(1.0, 100, warmup_steps=9))(steps)
        assert (np.diff(values) <= 0).all()

    @pytest.mark.parametrize("warmup", [-1, 100, 200])
    def test_refuses_a_warmup_that_does_not_fit(self, warmup):
        with pytest.raises(ValueError, match="0 <= warmup_steps < total_steps"):
            cosine_with_warmup(1.0, 100, warmup_steps=warmup)


def test_the_constructors_docstrings_give_rule_and_source():
    for function in CONSTRUCTORS.values():
        text = inspect.getdoc(function)
        assert "←" in text
        assert "Hyperparameter" in text
        assert "Source" in text


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"rate": np.inf}, "rate finite and at least 0, got inf"),
        ({"rate": -0.1}, "rate finite and at least 0, got -0.1"),
        ({"rate": jnp.float32(np.nan)}, "rate finite and at least 0, got nan"),
        ({"b1": 1.0}, "b1 at least 0 and below 1, got 1.0"),
        ({"b2": -0.5}, "b2 at least 0 and below 1, got -0.5"),
        ({"b2": 1.5}, "b2 at least 0 and below 1, got 1.5"),
        ({"eps": -1e-8}, "eps finite and at least 0, got -1e-08"),
    ],
)
def test_values_that_no_step_is_made_with(given, expected):
    with pytest.raises(ValueError, match=expected):
        optimizers.adam(**given)
    state = optimizers.adam().init(jnp.ones(2))
    with pytest.raises(ValueError, match=expected):
        with_hyperparameters(state, **given)


@pytest.mark.parametrize("decay", [1.0, -0.1, np.nan])
def test_a_decay_that_does_not_decay(decay):
    with pytest.raises(ValueError, match="decay at least 0 and below 1, got"):
        optimizers.nesterov(0.1, decay)


def test_another_optimizers_state():
    params = jnp.ones(2)
    state = optimizers.momentum(0.1).init(params)
    with pytest.raises(
        ValueError, match=r"state, of \['moments', 'rate'\], got one of \['rate', 'trace'\]"
    ):
        optimizers.adam().update(params, state, params)


def test_parameters_may_be_called_like_hyperparameters(row):
    """Their moments have the same names, and are left alone."""
    params = {"rate": jnp.ones(3), "hyper": {"rate": jnp.ones(2), "b1": jnp.ones(1)}}
    optimizer = row.optimizer()
    _, state = optimizer.update(params, optimizer.init(params), params)
    changed = with_hyperparameters(state, rate=0.5)
    differing = [
        path
        for (path, before), (_, after) in zip(paths(state), paths(changed), strict=True)
        if not np.array_equal(before, after)
    ]
    assert differing == ["rate/hyper/rate"]
