"""Sharpness-aware minimization: against optax's, and against the formula."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from optax import contrib

from fnn.optimizers import (
    apply_updates,
    minimize,
    momentum,
    sam,
    sgd,
    with_hyperparameters,
)
from fnn.optimizers.schedules import constant

START = {"w": np.asarray([[0.3, -1.2], [2.0, 0.7]]), "b": np.asarray([0.5, -0.4])}
STEPS = 50


def wavy(params):
    """A value with bends, and its gradient; the parameters depend on one another through ‖g‖ alone."""
    value = sum(
        (jnp.square(p - 2) / 2 - 0.1 * jnp.cos(3 * p)).sum() for p in jax.tree.leaves(params)
    )
    return value, jax.tree.map(lambda p: p - 2 + 0.3 * jnp.sin(3 * p), params)


def trajectory(minimizer, start):
    def body(carry, _):
        params, state = carry
        value, grads = wavy(params)
        updates, state = minimizer.update(wavy, value, grads, state, params)
        params = apply_updates(params, updates)
        return (params, state), params

    return jax.jit(lambda p: jax.lax.scan(body, (p, minimizer.init(p)), length=STEPS))(
        jax.tree.map(lambda p: jnp.asarray(p, float), start)
    )


@pytest.mark.parametrize(("x64", "tolerance"), [(True, 1e-12), (False, 1e-6)], ids=["f64", "f32"])
def test_trajectory_is_that_of_optax(x64, tolerance):
    with jax.enable_x64(x64):
        (_, state), ours = trajectory(sam(momentum(0.05, 0.9), 0.1), START)
        numbers = [
            float(np.asarray(number, np.float64 if x64 else np.float32))
            for number in (0.05, 0.9, 0.1)
        ]
    with jax.enable_x64(True), jax.numpy_dtype_promotion("standard"):
        rate, decay, radius = numbers
        peer = contrib.sam(
            optax.sgd(rate, momentum=decay),
            optax.chain(contrib.normalize(), optax.sgd(radius)),
            sync_period=2,
            opaque_mode=True,
        )
        params = jax.tree.map(jnp.asarray, START)

        def body(carry, _):
            params, state = carry
            updates, state = peer.update(
                wavy(params)[1], state, params, grad_fn=lambda p, _: wavy(p)[1]
            )
            params = optax.apply_updates(params, updates)
            return (params, state), params

        _, theirs = jax.jit(lambda p: jax.lax.scan(body, (p, peer.init(p)), length=STEPS))(params)
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)
    assert state.reached.evaluations == STEPS


def test_trajectory_is_that_of_the_printed_rule():
    with jax.enable_x64(True):
        _, ours = trajectory(sam(sgd(0.1), 0.2), START["w"])
        p = START["w"]

        def gradient(p):
            return p - 2 + 0.3 * np.sin(3 * p)

        for now in np.asarray(ours):
            g = gradient(p)
            p = p - 0.1 * gradient(p + 0.2 * g / np.linalg.norm(g))
            np.testing.assert_allclose(now, p, rtol=1e-12)


def test_a_gradient_of_zero_leads_nowhere_and_one_of_nan_is_seen():
    minimizer, params = sam(sgd(0.1)), jnp.ones(2)
    for grads, expected in ((jnp.zeros(2), [-0.1, -0.1]), (jnp.full(2, jnp.nan), [np.nan, np.nan])):
        updates, _ = minimizer.update(
            lambda p: (p.sum(), p), jnp.ones(()), grads, minimizer.init(params), params
        )
        np.testing.assert_allclose(updates, expected, rtol=1e-6)


def test_minimizes_with_two_evaluations_a_step():
    """On a parabola; it comes to rest where the worst place within the radius is best."""

    def objective(p):
        return jnp.square(p - 1).sum(), 2 * (p - 1)

    found = minimize(sam(sgd(0.05), 0.01), objective, jnp.asarray([3.0, -2.0]), steps=100)
    np.testing.assert_allclose(found.params, 1, atol=0.01)
    assert (found.steps, found.evaluations) == (100, 1 + 2 * 100)


def test_its_hyperparameter_and_the_optimizers_are_leaves_and_may_be_scheduled():
    params = jnp.ones(2)
    minimizer = sam(sgd(0.1), 0.2)
    state = with_hyperparameters(minimizer.init(params), radius=0.0, rate=0.5)
    updates, _ = minimizer.update(lambda p: (p.sum(), p), jnp.ones(()), params, state, params)
    np.testing.assert_allclose(updates, -0.5)
    scheduled = sam(sgd(0.1), constant(0.2))
    one, state = scheduled.update(
        lambda p: (p.sum(), p), jnp.ones(()), params, scheduled.init(params), params
    )
    two, _ = minimizer.update(
        lambda p: (p.sum(), p), jnp.ones(()), params, minimizer.init(params), params
    )
    np.testing.assert_array_equal(one, two)
    assert state.steps == 1
    with pytest.raises(ValueError, match="radius finite and at least 0, got -1"):
        sam(sgd(0.1), -1.0)
