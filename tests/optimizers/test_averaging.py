"""Averages of a trajectory against NumPy sums over it, and lookahead against its two loops."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from fnn.optimizers import (
    adam,
    apply_updates,
    averaged,
    compose,
    exponential_average,
    groups,
    hyperparameters,
    lookahead,
    masked,
    momentum,
    sgd,
    uniform_average,
    with_hyperparameters,
)

START = {"w": jnp.asarray([3.0, -2.0]), "b": jnp.asarray(1.0)}


def run(optimizer, params=START, steps=6, read=averaged):
    """The parameters before the first step and after each, and what `read` makes of each state."""
    state = optimizer.init(params)
    trajectory, seen = [params], [read(state, params)]
    for step in range(steps):
        grads = jax.tree.map(lambda p, step=step: p - jnp.cos(jnp.asarray(step, p.dtype)), params)
        updates, state = optimizer.update(grads, state, params)
        params = apply_updates(params, updates)
        trajectory.append(params)
        seen.append(read(state, params))
    return trajectory, seen


def close(a, b, rtol=1e-5):
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=rtol, atol=1e-6), a, b)


def mean(trees, weights):
    weights = np.asarray(weights, np.float64) / np.sum(weights)
    return jax.tree.map(
        lambda *leaves: sum(
            w * np.asarray(x, np.float64) for w, x in zip(weights, leaves, strict=True)
        ),
        *trees,
    )


def test_the_transform_changes_nothing_of_the_run():
    for average in (exponential_average(0.5), uniform_average(2)):
        with_average, _ = run(compose(descent=momentum(0.1), average=average))
        without, _ = run(momentum(0.1), read=lambda state, params: None)
        close(with_average, without, rtol=0)


def test_exponential_from_the_initial_parameters():
    trajectory, seen = run(compose(descent=momentum(0.1), average=exponential_average(0.8)))
    for t in range(7):
        weights = [0.8**t] + [0.2 * 0.8 ** (t - s) for s in range(1, t + 1)]
        close(seen[t], mean(trajectory[: t + 1], weights))


def test_exponential_without_the_initial_parameters():
    average = exponential_average(0.8, debias=True)
    trajectory, seen = run(compose(descent=momentum(0.1), average=average))
    close(seen[0], START)
    for t in range(1, 7):
        close(seen[t], mean(trajectory[1 : t + 1], [0.8 ** (t - s) for s in range(1, t + 1)]))


def test_debias_is_that_of_optax_and_right_for_a_decay_that_changes():
    trajectory, seen = run(compose(descent=sgd(0.1), average=exponential_average(0.9, debias=True)))
    theirs = optax.ema(0.9, debias=True)
    state = theirs.init(START)
    for now, ours in zip(trajectory[1:], seen[1:], strict=True):
        with jax.numpy_dtype_promotion("standard"):  # optax's powers are of float and int
            expected, state = theirs.update(now, state)
        close(ours, expected)

    def decay(count):
        return 0.5 + 0.1 * jnp.minimum(count, 4).astype(float)

    trajectory, seen = run(
        compose(descent=sgd(0.1), average=exponential_average(decay, debias=True))
    )
    weights = []
    for t in range(6):
        d = 0.5 + 0.1 * min(t, 4)
        weights = [w * d for w in weights] + [1 - d]
        close(seen[t + 1], mean(trajectory[1 : t + 2], weights))


@pytest.mark.parametrize("start", [0, 1, 3, 10])
def test_uniform_from_a_start(start):
    trajectory, seen = run(compose(descent=momentum(0.1), average=uniform_average(start)))
    for t in range(7):
        expected = mean(trajectory[start + 1 : t + 1], np.ones(t - start)) if t > start else None
        close(seen[t], trajectory[t] if expected is None else expected)


def test_the_average_is_nearer_to_the_minimum_than_the_noisy_end(rng):
    """Polyak and Ruppert's point: of a run whose rate does not fall, the average settles."""
    optimizer = compose(descent=sgd(0.5), average=uniform_average(50))
    noise = jnp.asarray(rng.normal(size=(400, 64)), jnp.float32)

    def body(carry, noise):
        p, state = carry
        updates, state = optimizer.update(p + noise, state, p)
        p = apply_updates(p, updates)
        return (p, state), p

    p = jnp.ones(64)
    (p, state), _ = jax.lax.scan(body, (p, optimizer.init(p)), noise)
    assert jnp.linalg.norm(averaged(state, p)) < jnp.linalg.norm(p) / 4


def test_averages_of_low_precision_parameters_are_of_float32():
    """Of the rounded parameters: 1 + 2⁻¹⁰ in bfloat16 is 1, and so is every average of it."""
    p = jnp.asarray(1.0, jnp.bfloat16)
    average = exponential_average(0.5)
    _, state = average.update(jnp.asarray(2.0**-10, jnp.float32), average.init(p), p)
    assert (state.mean.dtype, float(state.mean)) == (jnp.float32, 1.0)
    assert averaged(state, p).dtype == jnp.bfloat16


def test_averages_of_some_parameters_leave_the_others():
    optimizer = compose(descent=sgd(0.1), average=masked(exponential_average(0.5), "w"))
    trajectory, seen = run(optimizer, steps=1)
    np.testing.assert_array_equal(seen[1]["b"], trajectory[1]["b"])
    close(seen[1]["w"], (trajectory[0]["w"] + trajectory[1]["w"]) / 2)
    each = groups({"w": exponential_average(0.5), "b": uniform_average()})
    close(run(compose(descent=sgd(0.1), average=each), steps=1)[1][1]["w"], seen[1]["w"])


def test_states_without_an_average_or_with_two():
    with pytest.raises(ValueError, match="with an average in it, got none"):
        averaged(sgd(0.1).init(START), START)
    two = compose(a=uniform_average(), b=exponential_average())
    with pytest.raises(ValueError, match="one average of each parameter, got two of 'b'"):
        averaged(two.init(START), START)
    with pytest.raises(ValueError, match="at step 0 or later, got -1"):
        uniform_average(-1)


@pytest.mark.parametrize(
    "make", [lambda: momentum(0.1), lambda: adam(0.1)], ids=["momentum", "adam"]
)
@pytest.mark.parametrize("steps", [1, 2, 3])
def test_lookahead_is_its_two_loops(make, steps):
    got, _ = run(lookahead(make(), steps, 0.4), read=lambda state, params: None)
    inner, params, slow = make(), START, START
    state = inner.init(params)
    for step in range(6):
        grads = jax.tree.map(lambda p, step=step: p - jnp.cos(jnp.asarray(step, p.dtype)), params)
        updates, state = inner.update(grads, state, params)
        params = apply_updates(params, updates)
        if (step + 1) % steps == 0:
            slow = jax.tree.map(lambda s, p: s + 0.4 * (p - s), slow, params)
            params = slow
        close(got[step + 1], params)


def test_lookahead_of_rate_1_is_the_optimizer_and_of_rate_0_goes_nowhere():
    nothing = {"read": lambda state, params: None}
    close(run(lookahead(adam(0.1), 2, 1.0), **nothing)[0], run(adam(0.1), **nothing)[0])
    close(run(lookahead(adam(0.1), 2, 0.0), **nothing)[0][6], START)


def test_lookaheads_rate_is_not_the_optimizers():
    state = lookahead(sgd(0.1)).init(START)
    assert set(hyperparameters(state)) == {"hyper/slow_rate", "inner/rate/hyper/rate"}
    changed = hyperparameters(with_hyperparameters(state, rate=0.2))
    np.testing.assert_allclose(changed["hyper/slow_rate"], 0.5)
    np.testing.assert_allclose(changed["inner/rate/hyper/rate"], 0.2)


def test_lookahead_without_a_step():
    with pytest.raises(ValueError, match="at least one step between looks, got 0"):
        lookahead(sgd(0.1), 0)


def test_a_schedule_may_drive_lookaheads_rate():
    """Its count is of all steps: here the slow parameters stay at the first look, and follow after."""
    nothing = {"read": lambda state, params: None, "steps": 4}
    scheduled = lookahead(sgd(0.1), 2, lambda count: jnp.where(count < 3, 0.0, 1.0))
    got, _ = run(scheduled, **nothing)
    close(got[2], START)
    assert not np.allclose(got[4]["w"], START["w"])
    plain, state = START, sgd(0.1).init(START)
    for step in (2, 3):
        grads = jax.tree.map(lambda p, step=step: p - jnp.cos(jnp.asarray(step, p.dtype)), plain)
        updates, state = sgd(0.1).update(grads, state, plain)
        plain = apply_updates(plain, updates)
    close(got[4], plain)
    assert hyperparameters(scheduled.init(START)).keys() == {"inner/rate/hyper/rate"}
