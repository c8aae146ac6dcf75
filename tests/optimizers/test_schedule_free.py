"""Schedule-free optimizers: the three points, and the one to evaluate."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from fnn import optimizers
from fnn.optimizers import (
    adam,
    apply_updates,
    averaged_parameters,
    schedule_free_adamw,
    schedule_free_sgd,
)

START = {"w": np.float32([[3.0, -2.0], [0.5, 1.5]]), "b": np.float32([0.0, 1.0])}
BOTH = pytest.mark.parametrize("build", [schedule_free_sgd, schedule_free_adamw])


def gradient(params):
    return jax.tree.map(lambda p: p - 2 + 0.3 * np.sin(3 * np.asarray(p)), params)


def run(optimizer, steps, params=START):
    state = optimizer.init(params)
    for _ in range(steps):
        updates, state = optimizer.update(gradient(params), state, params)
        params = apply_updates(params, updates)
    return params, state


@BOTH
def test_before_the_first_step_all_points_are_one(build):
    got = averaged_parameters(build().init(START), START)
    jax.tree.map(np.testing.assert_array_equal, got, START)


def test_the_average_is_the_mean_of_all_steps():
    """With one rate throughout, x = mean(z), and the parameters lie between x and the last z."""
    optimizer, params, points = schedule_free_sgd(0.3, 0.8), START, []
    state = optimizer.init(params)
    for _ in range(6):
        updates, state = optimizer.update(gradient(params), state, params)
        params = apply_updates(params, updates)
        points.append(state["average"].slots["z"]["w"])
    x = averaged_parameters(state, params)["w"]
    np.testing.assert_allclose(x, np.mean(points, axis=0), rtol=1e-5)
    np.testing.assert_allclose(params["w"], 0.8 * x + 0.2 * points[-1], rtol=1e-5)


@BOTH
def test_the_average_is_that_of_optax(build):
    peer = {
        schedule_free_sgd: optax.contrib.schedule_free_sgd(0.1),
        schedule_free_adamw: optax.contrib.schedule_free_adamw(0.1),
    }[build]
    params, state = run(build(0.1), 5)
    with jax.numpy_dtype_promotion("standard"):
        theirs = jax.tree.map(jnp.asarray, START)
        peers = peer.init(theirs)
        for _ in range(5):
            updates, peers = peer.update(gradient(theirs), peers, theirs)
            theirs = optax.apply_updates(theirs, updates)
        expected = optax.contrib.schedule_free_eval_params(peers, theirs)
    for name, leaf in averaged_parameters(state, params).items():
        np.testing.assert_allclose(leaf, expected[name], rtol=1e-5)


def test_warmup_shortens_the_first_steps_and_their_weights():
    """Rates 1/4, 2/4, 3/4, 1, 1 of 0.4: z moves by them, and weighs their squares."""
    optimizer, params = schedule_free_sgd(0.4, warmup_steps=4), jnp.zeros(())
    state, points = optimizer.init(params), []
    for _ in range(5):
        updates, state = optimizer.update(jnp.ones(()), state, params)
        params = apply_updates(params, updates)
        points.append(state["average"].slots["z"])
    rates = np.asarray([0.1, 0.2, 0.3, 0.4, 0.4])
    np.testing.assert_allclose(points, -np.cumsum(rates), rtol=1e-6)
    expected = np.average(-np.cumsum(rates), weights=rates**2)
    np.testing.assert_allclose(averaged_parameters(state, params), expected, rtol=1e-5)


def test_weights_are_those_of_the_largest_rate_so_far():
    """Under a rate that falls, later steps weigh no less."""
    optimizer = schedule_free_sgd(lambda count: 1 / (1 + count.astype(float)))
    _, state = run(optimizer, 4)
    np.testing.assert_allclose(state["average"].weights, 4)


def test_a_rate_of_zero_moves_nothing():
    params, state = run(schedule_free_sgd(0.0), 3)
    jax.tree.map(np.testing.assert_array_equal, params, START)
    jax.tree.map(np.testing.assert_array_equal, averaged_parameters(state, params), START)


def test_the_average_has_the_parameters_dtype_and_its_own_memory():
    small = jax.tree.map(lambda p: jnp.asarray(p, jnp.bfloat16), START)
    state = schedule_free_adamw().init(small)
    assert {leaf.dtype for leaf in jax.tree.leaves(averaged_parameters(state, small))} == {
        jnp.dtype(jnp.bfloat16)
    }
    assert state["average"].slots["z"]["w"].dtype == jnp.float32
    # A step that overwrites parameters and state must be given two arrays.
    wide = jax.tree.map(jnp.asarray, START)
    z = schedule_free_sgd().init(wide)["average"].slots["z"]
    assert z["w"].unsafe_buffer_pointer() != wide["w"].unsafe_buffer_pointer()


def test_the_average_is_found_within_a_composition():
    optimizer = optimizers.compose(clip=optimizers.clip_by_value(0.5), free=schedule_free_sgd(0.1))
    params, state = run(optimizer, 2)
    got = averaged_parameters(state, params)
    inner = averaged_parameters(state["free"], params)
    jax.tree.map(np.testing.assert_array_equal, got, inner)


def test_parameters_of_other_groups_come_as_they_are():
    rules = {"b": optimizers.sgd(0.1), "*": schedule_free_sgd(0.1)}
    params, state = run(optimizers.groups(rules), 3)
    alone, memory = run(schedule_free_sgd(0.1), 3, {"w": START["w"]})
    got = averaged_parameters(state, params)
    np.testing.assert_array_equal(got["b"], params["b"])
    np.testing.assert_allclose(got["w"], averaged_parameters(memory, alone)["w"], rtol=1e-6)
    two = {"b": schedule_free_sgd(0.3), "*": schedule_free_sgd(0.1)}
    params, state = run(optimizers.groups(two), 3)
    both = averaged_parameters(state, params)
    np.testing.assert_allclose(both["w"], got["w"], rtol=1e-6)
    assert not np.allclose(both["b"], params["b"])


def test_what_is_refused():
    with pytest.raises(ValueError, match="state of a schedule-free optimizer, got none in it"):
        averaged_parameters(adam().init(START), START)
    with pytest.raises(ValueError, match="expected z in the state of the parameters' paths"):
        averaged_parameters(schedule_free_sgd().init(START), {"w": START["w"]})
    with pytest.raises(ValueError, match="expected z in the state of the parameters' structure"):
        averaged_parameters(schedule_free_sgd().init({"w": START["w"]}), START)
    with pytest.raises(ValueError, match="of each parameter, got two of 'b'"):
        averaged_parameters([schedule_free_sgd().init(START)] * 2, START)
    with pytest.raises(ValueError, match=r"expected interpolation at least 0\.01 and below 1"):
        schedule_free_sgd(interpolation=0.0)
    with pytest.raises(ValueError, match="expected warmup_steps at least 0, got -1"):
        schedule_free_adamw(warmup_steps=-1)
