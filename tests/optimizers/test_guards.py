"""Skipped updates: nothing moves, all is counted, and the culprit has a name."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from fnn.optimizers import (
    adam,
    apply_updates,
    compose,
    groups,
    non_finite_leaf,
    sgd,
    skip_nonfinite,
    stop_after,
)

PARAMS = {"a": {"w": jnp.ones((2, 2)), "b": jnp.ones(2)}, "c": jnp.ones(3)}


def grads(**bad):
    """Gradients of ones, with one number replaced in some leaves."""
    found = {"b": np.ones(2, np.float32), "w": np.ones((2, 2), np.float32)}
    c = np.ones(3, np.float32)
    for name, value in bad.items():
        (c if name == "c" else found[name]).flat[1] = value
    return jax.tree.map(jnp.asarray, {"a": found, "c": c})


def equal(a, b):
    jax.tree.map(np.testing.assert_array_equal, a, b)


@pytest.mark.parametrize("compiled", [True, False], ids=["jit", "eager"])
def test_skips_count_and_the_rest_goes_as_if_they_had_not_been(compiled):
    guarded, plain = skip_nonfinite(adam(0.1)), adam(0.1)
    update = jax.jit(guarded.update) if compiled else guarded.update
    params, state = PARAMS, guarded.init(PARAMS)
    expected, memory = PARAMS, plain.init(PARAMS)
    counts = []
    for g in (
        grads(),
        grads(w=np.nan),
        grads(c=np.inf),
        grads(),
        grads(b=-np.inf, c=np.nan),
        grads(),
    ):
        updates, state = update(g, state, params)
        params = apply_updates(params, updates)
        counts.append((int(state.consecutive), int(state.total), non_finite_leaf(state, params)))
    for _ in range(3):
        updates, memory = plain.update(grads(), memory, expected)
        expected = apply_updates(expected, updates)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), params, expected)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), state.inner, memory)
    assert counts == [
        (0, 0, None),
        (1, 1, "the gradient of a/w"),
        (2, 2, "the gradient of c"),
        (0, 2, "the gradient of c"),
        (1, 3, "the gradient of a/b"),
        (0, 3, "the gradient of a/b"),
    ]


def test_a_finite_gradient_whose_update_overflows():
    guarded = skip_nonfinite(sgd(1e30))
    state = guarded.init(PARAMS)
    updates, after = guarded.update(grads(b=1e15), state, PARAMS)
    assert non_finite_leaf(after, PARAMS) == "the update of a/b"
    assert not any(np.any(u) for u in jax.tree.leaves(updates))


def test_a_square_that_would_overflow_in_the_state():
    """Adam's update by an infinite mean square is 0, for all steps to come."""
    guarded = skip_nonfinite(adam(0.1))
    state = guarded.init(PARAMS)
    poisoned, memory = adam(0.1).update(grads(c=1e30), state.inner, PARAMS)
    assert np.isfinite(poisoned["c"]).all()
    assert not np.isfinite(memory["moments"].slots["square"]["c"]).all()
    updates, after = guarded.update(grads(c=1e30), state, PARAMS)
    assert non_finite_leaf(after, PARAMS) == "the gradient of c"
    equal(after.inner, state.inner)
    assert not any(np.any(u) for u in jax.tree.leaves(updates))


def test_stops_a_run_that_only_skips():
    guarded = compose(guard=skip_nonfinite(sgd(0.1)))
    state = guarded.init(PARAMS)
    for row in range(1, 4):
        stop_after(row, state, PARAMS)
        _, state = guarded.update(grads(w=np.nan), state, PARAMS)
        with pytest.raises(FloatingPointError, match=f"{row} updates in a row.*gradient of a/w"):
            stop_after(row, state, PARAMS)
    _, state = guarded.update(grads(), state, PARAMS)
    stop_after(1, state, PARAMS)


def test_a_guard_inside_of_a_group_covers_that_group():
    optimizer = groups({"a/*": sgd(0.1), "*": skip_nonfinite(sgd(0.1))})
    updates, state = optimizer.update(grads(c=np.nan), optimizer.init(PARAMS), PARAMS)
    np.testing.assert_array_equal(updates["c"], 0)
    assert np.all(updates["a"]["b"] != 0)
    with pytest.raises(ValueError, match="expected the 1 parameters that the guard covers, got 3"):
        non_finite_leaf(state, PARAMS)
    assert non_finite_leaf(state, {"c": PARAMS["c"]}) == "the gradient of c"


def test_states_without_a_guard_and_no_skips():
    state = sgd(0.1).init(PARAMS)
    for look in (non_finite_leaf, lambda state, params: stop_after(1, state, params)):
        with pytest.raises(ValueError, match="with skip_nonfinite, got none in it"):
            look(state, PARAMS)
    with pytest.raises(ValueError, match="at least one skip, got 0"):
        stop_after(0, skip_nonfinite(sgd(0.1)).init(PARAMS), PARAMS)


def test_another_librarys_optimizer_is_guarded():
    """optax's updates of bfloat16 parameters are of bfloat16."""
    params = jnp.ones(3, jnp.bfloat16)
    guarded = skip_nonfinite(optax.sgd(0.5))
    with jax.numpy_dtype_promotion("standard"):
        updates, state = guarded.update(params, guarded.init(params), params)
        np.testing.assert_array_equal(updates, -0.5)
        updates, _ = guarded.update(jnp.nan * params, state, params)
    np.testing.assert_array_equal(updates, 0)
